"""Shapes of all values of a graph for images of one size, and whether the calls fit each other there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._pytree import tree_map_only

from hgfast.frozen.graph import IMAGE, BottleneckCall, ConvCall, Graph, Others, PointwiseCall, PoolCall, Value
from hgfast.frozen.torch_call import TorchCall

Shape = tuple[int, int, int]
"""Channels, height, width."""


class _Bare:
    """In place of the weights of a frozen network: parameters as they are in the graph."""

    dtype, device = torch.float32, torch.device("cpu")

    def module(self, module: nn.Module) -> nn.Module:
        """Return the module itself."""
        return module

    def held(self, tensor: Tensor) -> Tensor:
        """Return the tensor itself."""
        return tensor


class _Shapes:
    def __init__(self, graph: Graph, batch: int, height: int, width: int, weights: Any, others: Others) -> None:
        self.graph, self.batch, self.weights = graph, batch, weights
        self.shapes: dict[Value, Shape] = {IMAGE: (graph.in_channels, height, width)}
        self.fake: dict[Value, Any] = {}  # what torch's calls make and read
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self.mode:
            for value, (shape, dtype) in zip(graph.others, others, strict=True):
                self._give(value, torch.empty(shape, dtype=dtype, device=weights.device))

    def note(self, call: Any) -> None:
        """Note the shapes of a call's outputs."""
        if isinstance(call, TorchCall):
            self._torch(call)
            return
        if isinstance(call, PointwiseCall):
            self.shapes[call.output] = self._pointwise(call)
            return
        shape = self._pooled(call) if isinstance(call, PoolCall) else self._convolved(call)
        self.shapes[call.output] = shape
        if call.second is not None:
            self.shapes[call.second.value] = shape

    def _map(self, call: Any, value: Value) -> Shape:
        if value not in self.shapes:
            raise ValueError(f"{call.name} reads what is no tensor (N, C, H, W)")
        return self.shapes[value]

    def _pooled(self, call: PoolCall) -> Shape:
        channels, h, w = self._map(call, call.x)
        return channels, h // 2, w // 2

    def _pointwise(self, call: PointwiseCall) -> Shape:
        shape = self._map(call, call.x)
        if call.residual is not None:
            _must_be(call, shape, self._map(call, call.residual))
        _must_be(call, shape[:1], (len(call.scale),))
        return shape

    def _convolved(self, call: ConvCall) -> Shape:
        (c, h, w), k = self._map(call, call.x), len(call.weight)
        if c != call.weight.shape[1]:
            raise ValueError(f"{call.name} reads {call.weight.shape[1]} channels, not {c}")
        shape = k, -(-h // call.stride), -(-w // call.stride)
        if call.extra is not None:
            _, h, w = self._map(call, call.extra.value)
            _must_be(call, shape, (k, -(-h // call.extra.stride), -(-w // call.extra.stride)))
        if call.residual is not None:
            _must_be(call, shape, self._map(call, call.residual))
        if call.upsample_to is None:
            return shape
        k, h, w = self._map(call, call.upsample_to)
        _must_be(call, shape, (k, -(-h // 2), -(-w // 2)))
        if call.output in self.graph.exact:
            _must_be(call, (k, 2 * shape[1], 2 * shape[2]), (k, h, w))
        return k, h, w

    def _torch(self, call: TorchCall) -> None:
        call.prepare(self.weights)
        like = {"dtype": self.weights.dtype, "device": self.weights.device}
        with self.mode, torch.no_grad():
            for value in call.inputs():
                if value not in self.fake:
                    self.fake[value] = torch.empty((self.batch, *self.shapes[value]), **like)
            result = None if call.has_hooks else call.run(self.fake, self.weights)
        if call.has_hooks:  # others' code, which is not to see tensors without numbers
            values = {value: tree_map_only(Tensor, _zeros, self.fake[value]) for value in call.inputs()}
            with torch.no_grad():
                result = call.run(values, self.weights)
            result = tree_map_only(Tensor, self.mode.from_tensor, result)
        self._give(call.output, result)

    def _give(self, value: Value, result: Any) -> None:
        """Note a value that no kernel makes; it is a map if kernels may read it."""
        self.fake[value] = result
        if isinstance(result, Tensor) and result.dim() == 4 and len(result) == self.batch:
            if result.dtype == self.weights.dtype:
                self.shapes[value] = tuple(result.shape[1:])  # type: ignore[assignment]


def _zeros(fake: Tensor) -> Tensor:
    return torch.zeros(fake.shape, dtype=fake.dtype, device=fake.device)


def _must_be(call: Any, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise ValueError(f"{call.name} gives {found}, which is added to {expected}")


def value_shapes(
    graph: Graph, height: int, width: int, batch: int = 1, weights: Any = None, others: Others = ()
) -> dict[Value, Shape]:
    """Return the shapes of all values (N, C, H, W) in a graph as built; torch's other kinds of results have none.

    Args:
        graph: without BottleneckCalls.
        height, width, batch: of the images.
        weights: of the frozen network; None for the parameters as they are in the graph.
        others: the other inputs.

    Raises:
        ValueError: the network does not take images of this size.
    """
    assert not any(isinstance(call, BottleneckCall) for call in graph.calls)
    found = _Shapes(graph, batch, height, width, weights or _Bare(), others)
    try:
        for call in graph.calls:
            found.note(call)
    except (ValueError, RuntimeError, TypeError, IndexError, AssertionError) as error:
        raise ValueError(
            f"the network does not take {batch} images of height {height}, width {width}: {error}"
        ) from error
    return found.shapes
