"""Which network is run for what is to be frozen, and its graph: by torch.fx, or as torch.export has it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hgfast.frozen.given import Sizes
from hgfast.frozen.modes import unchanged
from hgfast.graph import CapturedGraph, capture
from hgfast.graph.tracer import as_call, example_of, forward_of


@dataclass
class Found:
    """A network and its graph.

    Attributes:
        model: has the parameters, and computes what the graph says.
        captured: the graph, for evaluation.
        reference: what gives the results that are right.
        example: what it was captured with, if it knows that by itself.
        sizes: of a program of torch.export, those that its inputs may have.
    """

    model: nn.Module
    captured: CapturedGraph
    reference: Callable[..., Any]
    example: Any = None
    sizes: Sizes | None = None


def is_exported(model: Any) -> bool:
    """Whether this is a program of torch.export, which nobody has who has not imported that."""
    module = sys.modules.get("torch.export")
    return module is not None and isinstance(model, module.ExportedProgram)


class _WithHead(nn.Module):
    """MMPose's estimators: backbone and head, whatever else their forward does."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Any:
        """Return the head's result."""
        return self.head(self.backbone(images))


def find(model: Any, example: Any = None) -> Found:
    """Return the network and its graph.

    Args:
        model: the module, outside of wrappers, or a program of torch.export.
        example: the arguments of its forward, a tuple or a dict.

    Raises:
        ValueError: no graph of it can be had.
    """
    if is_exported(model):
        return _of_program(model)
    network, captured = network_of(model, example)
    if "" not in captured.stops:
        return Found(network, captured, network)
    why = f"freeze: {type(network).__name__} cannot be captured as a graph: {captured.stops['']}"
    if example is None:
        raise ValueError(why)
    try:
        return _of_program(_exported(network, example))
    except Exception as error:  # torch's, of the network's code, or of what has no graph
        line = next(iter(str(error).splitlines()), "")
        raise ValueError(f"{why}; nor does torch.export take it: {type(error).__name__}: {line}") from error


def _of_program(program: Any) -> Found:
    from hgfast.graph.exported import exported  # which imports torch.export

    try:
        found = exported(program)
    except ValueError as error:
        raise ValueError(f"freeze: {error}") from error
    if found.example is None:
        raise ValueError("freeze: the exported program must know the arguments that it was exported with")
    return Found(found.module, found.graph, program.module(), found.example, found.sizes)


def _exported(model: nn.Module, example: Any) -> Any:
    """Return a program for the sizes of an example alone."""
    from torch.export import export

    args, kwargs = as_call(forward_of(model), example_of(forward_of(model), example))
    with torch.no_grad(), unchanged(model):
        return export(model, args, kwargs)


def network_of(model: nn.Module, example: Any = None) -> tuple[nn.Module, CapturedGraph]:
    """Return what is run for images: the model, or backbone and head where its own forward wants more than images.

    example: the arguments of its forward, a tuple or a dict.
    """
    captured = capture(model, example, training=False, gradients=False)
    backbone, head = (getattr(model, name, None) for name in ("backbone", "head"))
    head = head or getattr(model, "keypoint_head", None)
    if example is None and "" in captured.stops and isinstance(backbone, nn.Module) and isinstance(head, nn.Module):
        model = _WithHead(backbone, head)
        captured = capture(model, training=False, gradients=False)
    return model, captured
