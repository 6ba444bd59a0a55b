"""The calls of a plan made ready: every argument written but the places of images and heatmaps."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hgfast import _native
from hgfast.frozen.choices import POINTWISE, Needs
from hgfast.frozen.graph import BottleneckCall, ConvCall, NativeCall, PointwiseCall, PoolCall, Value
from hgfast.frozen.shapes import Shape
from hgfast.frozen.torch_call import TorchCall
from hgfast.frozen.torch_call_step import TorchCallStep
from hgfast.frozen.torch_step import BY_TORCH, TorchStep
from hgfast.frozen.weights import Weights
from hgfast.ops import _batch_norm_native as pointwise
from hgfast.ops._bottleneck_native import BottleneckNeeds, BottleneckShape
from hgfast.ops._conv_native import ConvNeeds, ConvShape, query

if TYPE_CHECKING:
    from hgfast._library import Library

TENSOR = "tensor"  # an argument that is the tensor itself, not its address


@dataclass
class Step:
    """One call; arguments that change from run to run are put in at `external` (position, value, access)."""

    call: Any
    function: Callable[..., None]
    arguments: list[Any]
    external: list[tuple[int, Value, str]] = field(default_factory=list)
    kernel: str = "max_pool"
    weight_bytes: int = 0

    def run(self, tensors: dict[Value, Tensor], exec_handle: int) -> None:
        """Run it, with these tensors for the external values."""
        for position, value, access in self.external:
            tensor = tensors[value]
            self.arguments[position] = tensor if access == TENSOR else getattr(_native, access)(tensor)
        self.function(*self.arguments, exec_handle)


@dataclass
class Memory:
    """Where a plan's values are: in the arena at their offsets, but for the external ones; and which are codes."""

    batch: int
    dtype: torch.dtype
    shapes: dict[Value, Shape]
    external: set[Value]
    offsets: dict[Value, int]
    arena: Tensor
    workspace: Tensor
    codes: Collection[Value] = ()

    def dtype_of(self, value: Value) -> torch.dtype:
        """Return the dtype of all values but those that are codes."""
        return torch.uint8 if value in self.codes else self.dtype

    def nbytes(self, value: Value) -> int:
        """Return how many bytes a value takes."""
        c, h, w = self.shapes[value]
        return self.batch * c * h * w * self.dtype_of(value).itemsize

    def tensor(self, value: Value) -> Tensor:
        """Return a value's tensor in the arena: (N, C, H, W), channels_last."""
        c, h, w = self.shapes[value]
        offset = self.offsets[value]
        flat = self.arena[offset : offset + self.nbytes(value)].view(self.dtype_of(value))
        return flat.view(self.batch, h, w, c).permute(0, 3, 1, 2)


def conv_sizes(call: ConvCall, shapes: dict[Value, Shape], batch: int, dtype: torch.dtype, exact: bool) -> ConvShape:
    """Return the sizes of a convolution."""
    c, h, w = shapes[call.x]
    k, _, kernel, _ = call.weight.shape
    out = shapes[call.output][1:]
    sizes = ConvShape(batch, h, w, c, k, kernel, call.stride, *out, dtype=dtype, exact=exact)
    if call.extra is None:
        return sizes
    extra_c, extra_h, extra_w = shapes[call.extra.value]
    return replace(sizes, extra_h=extra_h, extra_w=extra_w, extra_c=extra_c, extra_stride=call.extra.stride)


def block_sizes(call: BottleneckCall, shapes: dict[Value, Shape], batch: int, dtype: torch.dtype) -> BottleneckShape:
    """Return the sizes of a whole bottleneck."""
    c, h, w = shapes[call.x]
    out = shapes[call.output][1:]
    return BottleneckShape(batch, h, w, c, len(call.convs[0].weight), *out, dtype=dtype)


@dataclass
class StepMaker:
    """Makes steps of calls, by the kernels that `needs` names."""

    lib: Library
    weights: Weights
    memory: Memory
    threads: int

    def with_workspace(self, nbytes: int) -> StepMaker:
        """Return a maker of steps with so many bytes of workspace at least, of their own where the plan has less."""
        if nbytes <= self.memory.workspace.numel():
            return self
        workspace = torch.zeros(nbytes, dtype=torch.uint8, device=self.memory.arena.device)
        return replace(self, memory=replace(self.memory, workspace=workspace))

    def make(self, call: Any, needs: Needs | None) -> Step | TorchCallStep:
        """Return the step of a call; needs: None for one of torch's."""
        if isinstance(call, TorchCall):
            return self._torch_call(call)
        assert needs is not None
        if needs.algorithm in BY_TORCH:
            return self._by_torch(call, needs)
        if isinstance(call, BottleneckCall):
            return self._bottleneck(call, needs)
        if isinstance(call, ConvCall):
            return self._conv(call, needs)
        return self._pool(call) if isinstance(call, PoolCall) else self._pointwise(call)

    def _place(self, step: Step, value: Value | None, access: str) -> Any:
        """Return a value's address; that of an external one is 0, and step.external notes where it belongs."""
        if value is None:
            return None if access == TENSOR else 0
        if value in self.memory.external:
            step.external.append((len(step.arguments), value, access))
            return 0
        if access == TENSOR:
            return self.memory.tensor(value)
        return getattr(_native, access)(self.memory.tensor(value))

    def add(self, step: Step, access: str, *values: Value | None) -> None:
        """Add the places of values, as arguments."""
        for value in values:
            step.arguments.append(self._place(step, value, access))

    def _add_second(self, step: Step) -> None:
        second = step.call.second
        vectors = (None, None) if second is None else (second.scale, second.shift)
        step.arguments += [_native.ptr(self.weights.vector(v)) for v in vectors]
        self.add(step, "out", None if second is None else second.value)

    def add_workspace(self, step: Step) -> None:
        """Add the arguments of the workspace."""
        step.arguments += [_native.inout(self.memory.workspace), self.memory.workspace.numel()]

    def _conv(self, call: ConvCall, needs: Needs) -> Step:
        memory = self.memory
        sizes = conv_sizes(call, memory.shapes, memory.batch, memory.dtype, self.weights.exact)
        assert isinstance(needs, ConvNeeds)
        step = Step(call, self.lib.conv, [sizes.native(self.lib, needs.algorithm)], kernel=needs.kernel)
        packed, bias = self.weights.packed(self.lib, call, sizes, needs), self.weights.vector(call.bias)
        step.weight_bytes = needs.packed_bytes
        self.add(step, "ptr", call.x)
        step.arguments += [_native.ptr(packed), _native.ptr(bias)]
        self.add(step, "ptr", call.residual, call.upsample_to, call.extra.value if call.extra else None)
        self.add(step, "out", call.output)
        self._add_second(step)
        step.arguments.append(int(call.relu))
        self.add_workspace(step)
        return step

    def _bottleneck(self, call: BottleneckCall, needs: Needs) -> Step:
        sizes = block_sizes(call, self.memory.shapes, self.memory.batch, self.memory.dtype)
        assert isinstance(needs, BottleneckNeeds)
        step = Step(call, self.lib.bottleneck, [*sizes.native(needs.algorithm)], kernel=needs.kernel)
        self.add(step, "ptr", call.x)
        step.arguments += [_native.ptr(self.weights.vector(v)) for v in (call.scale, call.shift)]
        for conv, inner, algorithm in zip(call.convs, sizes.convs, needs.conv_algorithms, strict=True):
            conv_needs = query(self.lib, inner, self.threads, algorithm)
            packed = self.weights.packed(self.lib, conv, inner, conv_needs)
            step.arguments += [_native.ptr(packed), _native.ptr(self.weights.vector(conv.bias))]
            step.weight_bytes += conv_needs.packed_bytes
        self.add(step, "ptr", call.upsample_to)
        self.add(step, "out", call.output)
        self._add_second(step)
        self.add_workspace(step)
        return step

    def _pool(self, call: PoolCall) -> Step:
        step = Step(call, self.lib.max_pool, [])
        self.add(step, "ptr", call.x)
        self.add(step, "out", call.output)
        self._add_second(step)
        c, h, w = self.memory.shapes[call.x]
        step.arguments += [_native.DTYPE_CODES[self.memory.dtype], self.memory.batch, h, w, c]
        return step

    def _pointwise(self, call: PointwiseCall) -> Step:
        """Call the kernel of batch_norm_act, whose statistics are 0 and 1."""
        zeros, ones = (self.weights.constant(number, len(call.scale)) for number in (0.0, 1.0))
        scale, shift = self.weights.vector(call.scale), self.weights.vector(call.shift)

        def run(x: Tensor, residual: Tensor | None, y: Tensor, exec_handle: int) -> None:
            pointwise.apply(self.lib, x, zeros, ones, scale, shift, residual, call.relu, 0.0, out=y)

        step = Step(call, run, [], kernel=POINTWISE.kernel)
        self.add(step, TENSOR, call.x, call.residual, call.output)
        return step

    def _torch_call(self, call: TorchCall) -> TorchCallStep:
        call.prepare(self.weights)
        memory = self.memory
        made = [call.output] if call.into else []
        places = {value: memory.tensor(value) for value in (*call.inputs(), *made) if value not in memory.external}
        return TorchCallStep(call, memory.arena, places, self.weights, call.output in memory.shapes)

    def _by_torch(self, call: NativeCall, needs: Needs) -> Step:
        assert not isinstance(call, BottleneckCall)
        lib, channels = self.lib if needs.algorithm == BY_TORCH[0] else None, self.memory.shapes[call.output][0]
        function = TorchStep(lib, call, self.weights, channels)
        step = Step(call, function, [], kernel=needs.kernel)
        inputs: tuple[Value | None, ...] = (None, None, None)
        if isinstance(call, ConvCall):
            inputs = call.residual, call.upsample_to, call.extra.value if call.extra else None
        elif isinstance(call, PointwiseCall):
            inputs = call.residual, None, None
        second = None if call.second is None else call.second.value
        self.add(step, TENSOR, call.x, *inputs, call.output, second)
        return step
