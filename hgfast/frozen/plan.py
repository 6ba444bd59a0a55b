"""A graph made ready for one input size: kernels chosen, weights packed, memory placed, every call's arguments written.

Running a plan is a loop of native calls: nothing is allocated but the heat-maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hgfast import _native
from hgfast.frozen.arena import place
from hgfast.frozen.bottleneck import fuse_bottlenecks
from hgfast.frozen.graph import IMAGE, BottleneckCall, Call, ConvCall, Graph, PoolCall, Value
from hgfast.frozen.weights import Weights
from hgfast.ops import _bottleneck_native
from hgfast.ops._bottleneck_native import BottleneckNeeds, BottleneckSizes
from hgfast.ops._conv_native import ConvNeeds, ConvSizes, query

Shape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass
class Step:
    """One native call; arguments that change from run to run are put in at `external` (position, value, access)."""

    call: Call
    function: Callable[..., None]
    arguments: list[Any]
    external: list[tuple[int, Value, str]] = field(default_factory=list)
    kernel: str = "max_pool"
    weight_bytes: int = 0


def value_shapes(graph: Graph, height: int, width: int) -> dict[Value, Shape]:
    """Shapes of all values for images of a size, in a graph as it was built."""
    shapes: dict[Value, Shape] = {IMAGE: (graph.in_channels, height, width)}
    for call in graph.calls:
        channels, h, w = shapes[call.x]
        assert not isinstance(call, BottleneckCall)
        if isinstance(call, PoolCall):
            shape = channels, h // 2, w // 2
        elif call.upsample_to is not None:
            shape = shapes[call.upsample_to]
        else:
            shape = len(call.weight), -(-h // call.stride), -(-w // call.stride)
        shapes[call.output] = shape
        if call.second is not None:
            shapes[call.second.value] = shape
    return shapes


class Plan:
    """Runs a graph for images (batch, C, height, width)."""

    def __init__(self, lib: Any, graph: Graph, weights: Weights, batch: int, height: int, width: int) -> None:
        """Plan; lib is the native module of the weights' device."""
        self.lib, self.weights, self.batch = lib, weights, batch
        self.dtype, self.device = weights.dtype, weights.device
        self.threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.shapes = value_shapes(graph, height, width)
        self.needs: dict[Value, ConvNeeds | BottleneckNeeds] = {}  # by the calls' outputs
        self.graph = fuse_bottlenecks(graph, self._takes)
        for call in self.graph.calls:
            if isinstance(call, ConvCall):
                self.needs[call.output] = query(lib, self._sizes(call), self.threads)
        self.external = {IMAGE, *graph.outputs}
        nbytes = {value: batch * c * h * w * self.dtype.itemsize for value, (c, h, w) in self.shapes.items()}
        self.offsets, self.arena_bytes = place(self.graph, nbytes, self.external)
        self.arena = torch.empty(self.arena_bytes, dtype=torch.uint8, device=self.device)
        self.workspace_bytes = max((needs.workspace_bytes for needs in self.needs.values()), default=0)
        self.workspace = torch.zeros(self.workspace_bytes, dtype=torch.uint8, device=self.device)
        self.steps = [self._step(call) for call in self.graph.calls]
        self._streams: set[int] = set()

    def run(self, images: Tensor) -> list[Tensor]:
        """Heat-maps for images of this plan's size, dtype and device, dense in channels_last order."""
        tensors = {IMAGE: images}
        for value in self.graph.outputs:
            shape = (self.batch, *self.shapes[value])
            tensors[value] = torch.empty(shape, dtype=self.dtype, device=self.device, memory_format=torch.channels_last)
        self.launch(tensors)
        return [tensors[value] for value in self.graph.outputs]

    def launch(self, tensors: dict[Value, Tensor]) -> None:
        """All calls, on the given tensors for the external values."""
        exec_handle = _native.exec_handle(tensors[IMAGE])
        self.note_stream(tensors[IMAGE], exec_handle)
        for step in self.steps:
            for position, value, access in step.external:
                step.arguments[position] = getattr(_native, access)(tensors[value])
            step.function(*step.arguments, exec_handle)

    def note_stream(self, images: Tensor, exec_handle: int) -> None:
        """What the plan holds is given to others, once it is dropped, only when this stream is done with it."""
        if images.is_cuda and exec_handle not in self._streams:
            self._streams.add(exec_handle)
            stream = torch.cuda.current_stream(images.device)
            for tensor in (self.arena, self.workspace, *self.weights.tensors()):
                tensor.record_stream(stream)

    def _sizes(self, call: ConvCall) -> ConvSizes:
        c, h, w = self.shapes[call.x]
        k, _, kernel, _ = call.weight.shape
        out = self.shapes[call.output][1:]
        sizes = ConvSizes(self.batch, h, w, c, k, kernel, call.stride, *out, dtype=self.dtype, exact=self.weights.exact)
        if call.extra is None:
            return sizes
        extra_c, extra_h, extra_w = self.shapes[call.extra.value]
        extra: dict[str, Any] = {
            "extra_c": extra_c,
            "extra_h": extra_h,
            "extra_w": extra_w,
            "extra_stride": call.extra.stride,
        }
        return replace(sizes, **extra)

    def _block_sizes(self, call: BottleneckCall) -> BottleneckSizes:
        c, h, w = self.shapes[call.x]
        out = self.shapes[call.output][1:]
        return BottleneckSizes(self.batch, h, w, c, len(call.convs[0].weight), *out, dtype=self.dtype)

    def _takes(self, call: BottleneckCall) -> bool:
        """Whether the library has a kernel for the whole block that is worth it; what it needs is noted."""
        needs = _bottleneck_native.query(self.lib, self._block_sizes(call), self.threads)
        if needs is None or not needs.pays:
            return False
        self.needs[call.output] = needs
        return True

    def _address(self, step: Step, value: Value | None, access: str) -> int:
        """Of a value; for an external one 0, and a note in the step that its place is the next argument."""
        if value is None:
            return 0
        if value in self.external:
            step.external.append((len(step.arguments), value, access))
            return 0
        c, h, w = self.shapes[value]
        offset, nbytes = self.offsets[value], self.batch * c * h * w * self.dtype.itemsize
        return getattr(_native, access)(self.arena[offset : offset + nbytes].view(self.dtype))

    def _add(self, step: Step, access: str, *values: Value | None) -> None:
        for value in values:
            step.arguments.append(self._address(step, value, access))

    def _add_second(self, step: Step) -> None:
        second = step.call.second
        vectors = (None, None) if second is None else (second.scale, second.shift)
        step.arguments += [_native.ptr(self.weights.vector(v)) for v in vectors]
        self._add(step, "out", None if second is None else second.value)

    def _add_workspace(self, step: Step) -> None:
        step.arguments += [_native.inout(self.workspace), self.workspace_bytes]

    def _step(self, call: Call) -> Step:
        if isinstance(call, BottleneckCall):
            return self._bottleneck(call)
        return self._conv(call) if isinstance(call, ConvCall) else self._pool(call)

    def _conv(self, call: ConvCall) -> Step:
        sizes, needs = self._sizes(call), self.needs[call.output]
        assert isinstance(needs, ConvNeeds)
        step = Step(call, self.lib.conv, [sizes.native(self.lib, needs.algorithm)], kernel=needs.kernel)
        packed, bias = self.weights.packed(self.lib, call, sizes, needs), self.weights.vector(call.bias)
        step.weight_bytes = needs.packed_bytes
        self._add(step, "ptr", call.x)
        step.arguments += [_native.ptr(packed), _native.ptr(bias)]
        self._add(step, "ptr", call.residual, call.upsample_to, call.extra.value if call.extra else None)
        self._add(step, "out", call.output)
        self._add_second(step)
        step.arguments.append(int(call.relu))
        self._add_workspace(step)
        return step

    def _bottleneck(self, call: BottleneckCall) -> Step:
        sizes, needs = self._block_sizes(call), self.needs[call.output]
        assert isinstance(needs, BottleneckNeeds)
        step = Step(call, self.lib.bottleneck, [*sizes.native(needs.algorithm)], kernel=needs.kernel)
        self._add(step, "ptr", call.x)
        step.arguments += [_native.ptr(self.weights.vector(v)) for v in (call.scale, call.shift)]
        for conv, conv_sizes, algorithm in zip(call.convs, sizes.convs, needs.conv_algorithms, strict=True):
            conv_needs = query(self.lib, conv_sizes, self.threads, algorithm)
            packed = self.weights.packed(self.lib, conv, conv_sizes, conv_needs)
            step.arguments += [_native.ptr(packed), _native.ptr(self.weights.vector(conv.bias))]
            step.weight_bytes += conv_needs.packed_bytes
        self._add(step, "ptr", call.upsample_to)
        self._add(step, "out", call.output)
        self._add_second(step)
        self._add_workspace(step)
        return step

    def _pool(self, call: PoolCall) -> Step:
        step = Step(call, self.lib.max_pool, [])
        self._add(step, "ptr", call.x)
        self._add(step, "out", call.output)
        self._add_second(step)
        c, h, w = self.shapes[call.x]
        step.arguments += [_native.DTYPE_CODES[self.dtype], self.batch, h, w, c]
        return step
