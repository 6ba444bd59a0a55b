"""Records what the stages of a program compute as calls of the CPU's kernels, on values that stand for tensors.

float32, activations in channels_last. It has the functions of `_kernels`, and NormRecord is its NormState: the same
way forward and back (`_registers`, `_gradients`), run once on these, writes down what it would do to tensors. What no
kernel of hgfast's computes is recorded as a call of torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from hgfast import _native
from hgfast.ops import _conv_choice as choose
from hgfast.ops import _conv_train
from hgfast.ops._conv_native import ConvShape
from hgfast.ops.upsample_add import upsample_add, upsample_add_backward

if TYPE_CHECKING:
    pass

SUM, RELU, RELU_BACKWARD = range(3)  # csrc/common/pointwise.h: PointwiseKind


class CannotRecord(Exception):
    """The values do not fit each other, or are none that are recorded; the ops say what is wrong."""


class Value:
    """Stands for a float32 tensor: an activation (N, C, H, W) in channels_last, a weight, or numbers.

    Attributes:
        shape: its shape.
        channels_last: memory format of one of 4 dimensions.
        zeros: whether it is nothing but zeros.
    """

    __slots__ = ("channels_last", "shape", "zeros")

    def __init__(self, shape: Sequence[int], channels_last: bool = True, zeros: bool = False) -> None:
        self.shape, self.channels_last, self.zeros = tuple(shape), channels_last, zeros

    @property
    def count(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def memory_format(self) -> torch.memory_format:
        """Of the tensor."""
        return torch.channels_last if self.channels_last and len(self.shape) == 4 else torch.contiguous_format

    @property
    def stride(self) -> tuple[int, ...]:
        """Strides of the tensor."""
        if len(self.shape) == 1:
            return (1,)
        _, c, h, w = self.shape
        return (h * w * c, 1, w * c, c) if self.channels_last else (c * h * w, h * w, w, 1)


class KernelCall(NamedTuple):
    """A method of the native Sequence: settings, then what it reads, then what it writes."""

    method: str
    settings: tuple[Any, ...]
    reads: tuple[Value | None, ...]
    writes: tuple[Value | None, ...]


class AtenCall(NamedTuple):
    """function(*reads) -> the tensors that it makes."""

    function: Callable[..., Sequence[Tensor]]
    reads: tuple[Value | None, ...]
    writes: tuple[Value, ...]


class Recorder:
    """Has the functions of `_kernels`.

    Attributes:
        calls: what has been recorded.
    """

    def __init__(self) -> None:
        self.lib = _native.library("cpu")
        self.calls: list[KernelCall | AtenCall] = []

    def kernel(self, method: str, settings: tuple[Any, ...], reads: tuple[Any, ...], *writes: Value | None) -> None:
        """Record a call of a kernel."""
        self.calls.append(KernelCall(method, settings, reads, writes))

    def conv(self, x: Value, weight: Value, bias: Value | None, stride: int, addend: Value | None) -> Value:
        """Convolution plus addend."""
        sizes = _sizes(x, weight, stride)
        y = Value((sizes.n, sizes.k, *sizes.result))
        fit(bias is None or bias.shape == (sizes.k,), addend is None or addend.shape == y.shape)
        algorithm = choose.result(sizes)
        if isinstance(algorithm, str):

            def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None) -> list[Tensor]:
                return [_conv_train.forward(x, weight, bias, stride, addend)]

            self.calls.append(AtenCall(convolve, (x, weight, bias, addend), (y,)))
        else:
            settings = (sizes.native(self.lib, algorithm), False, weight.channels_last)
            self.kernel("conv_train", settings, (x, weight, bias, addend), y)
        return y

    def conv_backward(
        self, grad: Value, x: Value, weight: Value, stride: int, needs: tuple[bool, bool, bool], addend: Value | None
    ) -> tuple[Value | None, Value | None, Value | None]:
        """Record gradients of x (plus addend), weight and bias, as far as needs says."""
        sizes = _sizes(x, weight, stride)
        fit(grad.shape == (sizes.n, sizes.k, *sizes.result), addend is None or addend.shape == x.shape)
        for_x, for_weight = choose.input_grad(sizes), choose.weight_grad(sizes)
        rest = needs[0] and isinstance(for_x, str), needs[1] and isinstance(for_weight, str), False
        x_grad, weight_grad = Value(x.shape) if needs[0] else None, None
        if needs[1]:
            weight_grad = Value(weight.shape, weight.channels_last)
        if any(rest):
            pairs = (x_grad, rest[0]), (weight_grad, rest[1])
            made = tuple(value for value, need in pairs if need and value is not None)
            self.calls.append(AtenCall(_rest_of_conv_backward(stride, rest), (grad, x, weight, addend), made))
        if needs[1] and not isinstance(for_weight, str):
            shape = sizes.native(self.lib, for_weight)
            self.kernel("conv_weight_grad", (shape, weight.channels_last), (x, grad), weight_grad)
        if needs[0] and for_x == choose.STRIDED:
            shape = sizes.native(self.lib, choose.STRIDED)
            self.kernel("conv_strided_grad", (shape, weight.channels_last), (grad, weight, addend), x_grad)
        elif needs[0] and not isinstance(for_x, str):
            shape = choose.turned(sizes).native(self.lib, for_x)
            self.kernel("conv_train", (shape, True, weight.channels_last), (grad, weight, None, addend), x_grad)
        return x_grad, weight_grad, self.channel_sum(grad) if needs[2] else None

    def channel_sum(self, x: Value) -> Value:
        """Sum over all but the channels."""
        rows, c = rows_and_channels(x)
        sums = Value((c,))
        self.kernel("channel_sum", (rows, c), (x,), sums, self.norm_workspace(x))
        return sums

    def norm_workspace(self, x: Value) -> Value:
        """Room for the sums of a reduction over x's channels."""
        rows, c = rows_and_channels(x)
        return Value(self.lib.batch_norm_sizes(_native.DTYPE_CODES[torch.float32], _native.NHWC, 1, rows, c)[:1])

    def merge(self, skip: Value, low: Value) -> Value:
        """Skip plus low brought to its size."""
        n, c, h, w = skip.shape
        fit(low.shape[:2] == (n, c))
        out = Value(skip.shape)
        if low.shape[2:] == ((h + 1) // 2, (w + 1) // 2):
            self.kernel("upsample_add", (n, h, w, c), (skip, low), out)
        else:
            self.calls.append(AtenCall(lambda skip, low: [upsample_add(skip, low)], (skip, low), (out,)))
        return out

    def merge_backward(self, grad: Value, height: int, width: int) -> Value:
        """Record the gradient of low."""
        n, c, h, w = grad.shape
        low = Value((n, c, height, width))
        if low.shape[2:] == ((h + 1) // 2, (w + 1) // 2):
            self.kernel("upsample_add_backward", (n, h, w, c), (grad,), low)
        else:
            backward = upsample_add_backward
            self.calls.append(AtenCall(lambda grad: [backward(grad, height, width)], (grad,), (low,)))
        return low

    def relu(self, x: Value) -> Value:
        """max(x, 0)."""
        return self._pointwise(RELU, x, None)

    def relu_backward(self, grad: Value, x: Value) -> Value:
        """Record the gradient of x, given that of relu(x)."""
        return self._pointwise(RELU_BACKWARD, grad, x)

    def add(self, a: Value, b: Value) -> Value:
        """Return the sum."""
        return self._pointwise(SUM, a, b)

    def _pointwise(self, kind: int, a: Value, b: Value | None) -> Value:
        fit(b is None or b.shape == a.shape)
        out = Value(a.shape)
        self.kernel("pointwise", (kind, a.count), (a, b), out)
        return out

    def zeros_like(self, value: Value) -> Value:
        """Zeros, made for each run."""
        return Value(value.shape, value.channels_last, zeros=True)


def _rest_of_conv_backward(stride: int, needs: tuple[bool, bool, bool]) -> Callable[..., list[Tensor]]:
    """Return the gradients of a convolution for which there is no kernel."""

    def backward(grad: Tensor, x: Tensor, weight: Tensor, addend: Tensor | None) -> list[Tensor]:
        x_grad, weight_grad, _ = _conv_train.backward(grad, x, weight, stride, needs, addend if needs[0] else None)
        return [value for value in (x_grad, weight_grad) if value is not None]

    return backward


def rows_and_channels(x: Value) -> tuple[int, int]:
    """Pixels of all images, and channels."""
    n, c, h, w = x.shape
    return n * h * w, c


def fit(*conditions: bool) -> None:
    """Raise CannotRecord unless all hold."""
    if not all(conditions):
        raise CannotRecord


def _sizes(x: Value, weight: Value, stride: int) -> ConvShape:
    (n, c, h, w), (k, channels, height, kernel) = x.shape, weight.shape
    fit(channels == c, height == kernel, kernel % 2 == 1, k > 0)
    return ConvShape(n, h, w, c, k, kernel, stride)
