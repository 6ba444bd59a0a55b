"""Each call of a frozen network held against the network it came from, in float64, on what it was frozen with."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hgfast import _native
from hgfast.frozen.build import Built
from hgfast.frozen.coded_graph import made_by
from hgfast.frozen.graph import IMAGE, ConvCall, Graph, Value
from hgfast.frozen.model import FrozenModel
from hgfast.frozen.modes import unchanged
from hgfast.frozen.plan import Plan
from hgfast.frozen.torch_call import TorchCall
from hgfast.graph.captured import Node
from hgfast.graph.interpret import Interpreter

log = logging.getLogger("hgfast")
CANCELLED = 1e-2  # of what a sum of such terms is on the average; less has lost its digits in any arithmetic


@dataclass
class Made:
    """What kernels made: the call's name, the value, and the norm that a difference is measured by at least."""

    name: str
    value: Tensor
    least: Tensor


def check_calls(frozen: FrozenModel, built: Built, allowed: float) -> None:
    """Compare every value that kernels make and the network has too.

    The network runs once more, in float64, with its statistics as they are; where its own code takes no float64, the
    comparison of its results (hgfast.frozen.freeze) is all there is.

    Args:
        frozen: the frozen network.
        built: it was made of this.
        allowed: the norm of a difference, relative to that of the value.

    Raises:
        RuntimeError: a value differs by more; the message says which call made it.
    """
    found = _made(frozen, built)
    if not found:
        return

    def see(number: int, node: Node, value: Any) -> None:
        if number in found and isinstance(value, Tensor):
            _compare(found.pop(number), node, value, allowed)

    with torch.inference_mode(False), torch.no_grad():
        try:
            model = copy.deepcopy(built.model).double()
            tensors = {node: _double(tensor) for node, tensor in built.tensors.items()}
            interpreter = Interpreter(model, built.captured)
            with unchanged(model):
                interpreter.evaluate(tensors, see)
        except _Differs as error:
            raise RuntimeError(str(error)) from None
        except Exception as error:  # of the network's own code, which may want float32
            log.debug("freeze: calls are not compared, the network does not run in float64: %s", error)


class _Differs(Exception):
    """A value is not the network's."""


def _compare(made: Made, node: Node, value: Tensor, allowed: float) -> None:
    if value.shape != made.value.shape:
        raise _Differs(f"freeze: {made.name} gives {tuple(made.value.shape)}, {node.name} {tuple(value.shape)}")
    if not value.numel():
        return
    difference = (value - made.value).norm()
    size = torch.maximum(value.norm(), made.least)
    if not bool(difference <= allowed * size) and bool(value.isfinite().all()):
        raise _Differs(
            f"freeze: {made.name} differs from the model's {node.name} by {difference / size:.2e} (relative), more "
            f"than the {allowed:.0e} that it may"
        )


def _made(frozen: FrozenModel, built: Built) -> dict[int, Made]:
    """Return what kernels make, by the nodes that it is in the network."""
    images, *others = frozen.inputs(*built.args, **built.kwargs)
    found = dict[int, Made]()
    with torch.cuda.device(frozen.device) if frozen.device.type == "cuda" else contextlib.nullcontext():
        plan = frozen.plan_for(images, others)
        if not isinstance(plan, Plan):
            return found
        for call, value, tensors in _steps(plan, frozen.graph, images, others):
            node = frozen.graph.nodes.get(value)
            if node is not None:
                found[node] = Made(call.name, _of(plan, value, tensors).clone(), _least(plan, call, tensors))
    return found


def steps_with_values(
    plan: Plan, graph: Graph, images: Tensor, others: list[Tensor]
) -> Iterator[tuple[Any, Value, Any]]:
    """Run a plan; each call, with each value that it makes and the value itself, which the next call may write over."""
    tensors: dict[Value, Any] = {IMAGE: images, **dict(zip(graph.others, others, strict=True)), **plan.new_outputs()}
    handle = _native.exec_handle(images)
    for step in plan.steps:
        step.run(tensors, handle)
        for value in made_by(step.call):
            yield step.call, value, _of(plan, value, tensors)


def _steps(plan: Plan, graph: Graph, images: Tensor, others: list[Tensor]) -> Iterator[tuple[Any, Value, Any]]:
    """Run a plan; each call of kernels with its values, and the tensors that are not in the arena."""
    tensors: dict[Value, Any] = {IMAGE: images, **dict(zip(graph.others, others, strict=True)), **plan.new_outputs()}
    handle = _native.exec_handle(images)
    for step in plan.steps:
        step.run(tensors, handle)
        if not isinstance(step.call, TorchCall):
            for value in made_by(step.call):
                yield step.call, value, tensors


def _of(plan: Plan, value: Value, tensors: dict[Value, Any]) -> Tensor:
    return tensors[value] if value in tensors else plan.maker.memory.tensor(value)


def _least(plan: Plan, call: Any, tensors: dict[Value, Any]) -> Tensor:
    """Return the norm of a convolution of its inputs and weights, as if they were random, times CANCELLED."""
    if not isinstance(call, ConvCall):
        return torch.zeros((), dtype=torch.float64, device=plan.device)
    x = _of(plan, call.x, tensors)
    _, height, width = plan.shapes[call.output]
    pixels = plan.batch * height * width
    mean_square = x.norm().double().square() / max(x.numel(), 1)
    return CANCELLED * (pixels * mean_square).sqrt() * call.weight.norm().double().to(x.device)


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor.clone()
