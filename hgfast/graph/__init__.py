"""A network captured once as a graph of what it computes; programs of torch.export: hgfast.graph.exported."""

from hgfast.graph.capture import capture
from hgfast.graph.captured import CapturedCall, CapturedGraph, Node, Ref, Stop
from hgfast.graph.interpret import Interpreter

__all__ = ["CapturedCall", "CapturedGraph", "Interpreter", "Node", "Ref", "Stop", "capture"]
