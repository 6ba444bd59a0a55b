"""A call by torch's own operators: what a plan runs where hgfast's kernels are wrong, or slower.

Two ways: torch.conv2d (on CUDA, cuDNN's) with bias, residual, ReLU, merge and second output in hgfast's pointwise
kernels; or torch's operators alone, the last way of all.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from hgfast.frozen.graph import ConvCall, PlainCall, PointwiseCall, PoolCall
from hgfast.frozen.weights import Weights
from hgfast.ops import _batch_norm_native as pointwise
from hgfast.ops._conv_native import ConvNeeds
from hgfast.ops.upsample_add import add_into
from hgfast.reference.upsample_add import upsample_add

if TYPE_CHECKING:
    from hgfast._library import Library

WITH_POINTWISE = ConvNeeds(-1, 0, 0, -1, "torch conv2d, pointwise kernels")
TORCH_ALONE = ConvNeeds(-2, 0, 0, -2, "torch")
BY_TORCH = (WITH_POINTWISE.algorithm, TORCH_ALONE.algorithm)


def convolve(x: Tensor, weight: Tensor, stride: int, tf32: bool, benchmark: bool = False, cudnn: bool = True) -> Tensor:
    """torch.conv2d with "same" padding, with settings of its own instead of those of `torch.backends.cudnn`, and in x's
    dtype, whatever autocast wants."""
    if x.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return convolve(x, weight, stride, tf32, benchmark, cudnn)
    stride_, padding, none = [stride] * 2, [weight.shape[-1] // 2] * 2, [0, 0]
    settings = benchmark, False, cudnn, tf32
    return torch._convolution(x, weight, None, stride_, padding, [1, 1], False, none, 1, *settings)


class TorchStep:
    """Computes a call on tensors (N, C, H, W), channels_last, and writes its outputs in place."""

    def __init__(self, lib: Library | None, call: ConvCall | PlainCall, weights: Weights, channels: int) -> None:
        """lib: with the pointwise kernels; None for torch's operators alone. channels: of the output."""
        self.lib, self.call, self.weights = lib, call, weights
        # All weights are brought to the device now, as the first call may be inside a capture.
        bring = weights.plain if lib is None else weights.vector
        if isinstance(call, ConvCall):
            bring(call.bias)
            self.weight = weights.plain(call.weight)
            self.extra = None if call.extra is None else weights.plain(call.extra.weight)[..., None, None]
        if isinstance(call, PointwiseCall):
            weights.vector(call.scale), weights.vector(call.shift)
        if call.second is not None:
            bring(call.second.scale), bring(call.second.shift)
        if lib is not None:
            self.constants = [weights.constant(number, channels) for number in (0.0, 1.0)]
        # cuDNN times its algorithms at a thread's first call, which must not be inside a capture.
        self._timed: set[int] = set()

    def __call__(
        self,
        x: Tensor,
        residual: Tensor | None,
        upsample_to: Tensor | None,
        extra_x: Tensor | None,
        y: Tensor,
        y2: Tensor | None,
        exec_handle: int,
    ) -> None:
        """Run."""
        if isinstance(self.call, PoolCall):
            y.copy_(F.max_pool2d(x, 2))
        elif isinstance(self.call, PointwiseCall):
            self._pointwise(self.call, x, residual, y)
        else:
            v = self._convolution(self.call, x, extra_x)
            (self._finish_alone if self.lib is None else self._finish)(self.call, v, residual, upsample_to, y)
        if y2 is not None:
            self._second(y, y2)

    def _convolution(self, call: ConvCall, x: Tensor, extra_x: Tensor | None) -> Tensor:
        thread, tf32 = threading.get_ident(), not self.weights.exact
        capturing = x.is_cuda and torch.cuda.is_current_stream_capturing()
        benchmark = self.lib is not None and (thread in self._timed or not capturing)
        v = convolve(x, self.weight, call.stride, tf32, benchmark)
        if call.extra is not None and self.extra is not None and extra_x is not None:
            v = v.add_(convolve(extra_x, self.extra, call.extra.stride, tf32, benchmark))
        if benchmark:
            self._timed.add(thread)
        return v.contiguous(memory_format=torch.channels_last)

    def _finish(
        self, call: ConvCall, v: Tensor, residual: Tensor | None, upsample_to: Tensor | None, y: Tensor
    ) -> None:
        assert self.lib is not None
        result = y if upsample_to is None else v
        self._scaled(v, None, call.bias, residual, call.relu, result)
        if upsample_to is not None:
            add_into(self.lib, upsample_to, v, y)

    def _finish_alone(
        self, call: ConvCall, v: Tensor, residual: Tensor | None, upsample_to: Tensor | None, y: Tensor
    ) -> None:
        v = v.add_(self.weights.plain(call.bias)[:, None, None])
        if residual is not None:
            v = v.add_(residual)
        if call.relu:
            v = v.relu_()
        y.copy_(v if upsample_to is None else upsample_add(upsample_to, v))

    def _pointwise(self, call: PointwiseCall, x: Tensor, residual: Tensor | None, y: Tensor) -> None:
        """Compute in float32, as the kernel does."""
        scale, shift = (self.weights.vector(vector)[:, None, None] for vector in (call.scale, call.shift))  # type: ignore[index]
        v = x.float() * scale + shift
        if residual is not None:
            v = v.add_(residual)
        y.copy_(v.relu_() if call.relu else v)

    def _second(self, y: Tensor, y2: Tensor) -> None:
        second = self.call.second
        assert second is not None
        if self.lib is None:
            scale, shift = (self.weights.plain(vector)[:, None, None] for vector in (second.scale, second.shift))
            y2.copy_((y * scale + shift).relu_())
        else:
            self._scaled(y, second.scale, second.shift, None, True, y2)

    def _scaled(
        self, x: Tensor, scale: Tensor | None, shift: Tensor, residual: Tensor | None, relu: bool, out: Tensor
    ) -> None:
        """out = [relu](scale * x + shift + residual), by the kernel of batch_norm_act, whose statistics are 0 and 1."""
        assert self.lib is not None
        zeros, ones = self.constants
        scale, shift_ = self.weights.vector(scale), self.weights.vector(shift)
        pointwise.apply(self.lib, x, zeros, ones, scale, shift_, residual, relu, 0.0, out=out)
