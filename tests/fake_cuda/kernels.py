"""The kernels of which there is no form on the CPU, or one with other workspaces: computed by PyTorch, at addresses."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hgfast import reference
from hgfast._native import DTYPE_CODES

DTYPES = {code: dtype for dtype, code in DTYPE_CODES.items()}
COUNTERS = 64  # bytes at the start of a workspace that must be zero before the first call, and are afterwards


def at(address: int, dtype: torch.dtype, *shape: int) -> Tensor | None:
    """Memory as a tensor; None at address 0."""
    if not address:
        return None
    count = 1
    for size in shape:
        count *= size
    if not count:
        return torch.empty(shape, dtype=dtype)
    buffer = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return torch.frombuffer(buffer, dtype=dtype).view(shape)


def nhwc(address: int, dtype: torch.dtype, n: int, c: int, h: int, w: int) -> Tensor | None:
    """Activations, (N, C, H, W) in channels_last."""
    found = at(address, dtype, n, h, w, c)
    return None if found is None else found.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class ConvShape:
    """The library's class of that name (csrc/common/conv.h)."""

    n: int
    h: int
    w: int
    c: int
    k: int
    kernel: int
    stride: int
    out_h: int
    out_w: int
    extra_h: int
    extra_w: int
    extra_c: int
    extra_stride: int
    dtype: int
    algorithm: int
    exact: int

    @property
    def terms(self) -> tuple[int, int]:
        """Numbers in the weights, and in those of the extra input."""
        return self.k * self.c * self.kernel**2, self.k * self.extra_c


def conv_query(shape: ConvShape, threads: int) -> tuple[int, int, int, int, str]:
    """Algorithm (another one for each batch size), bytes of packed weights and of the workspace, packing, name."""
    return shape.algorithm or 16 + shape.n % 16, 4 * sum(shape.terms), COUNTERS, 1, "fake"


def conv_pack(shape: ConvShape, weight: int, extra: int, packed: int, stream: int) -> None:
    """Whatever the algorithm: the numbers in float32, those of the extra input behind the others."""
    for address, count, offset in zip((weight, extra), shape.terms, (0, shape.terms[0]), strict=True):
        if address:
            ctypes.memmove(packed + 4 * offset, address, 4 * count)


def unpacked(shape: ConvShape, packed: int) -> tuple[Tensor, Tensor | None]:
    """Weight (K, C, r, r) and the extra input's (K, C', 1, 1), of the activations' dtype."""
    s, dtype = shape, DTYPES[shape.dtype]
    weight = at(packed, torch.float32, s.k, s.c, s.kernel, s.kernel)
    extra = at(packed + 4 * s.terms[0], torch.float32, s.k, s.extra_c, 1, 1) if s.extra_c else None
    assert weight is not None
    return weight.to(dtype), None if extra is None else extra.to(dtype)


def check_counters(workspace: int) -> None:
    counters = at(workspace, torch.uint8, COUNTERS)
    assert counters is not None and not counters.any(), "a workspace is not zero before its first call"


def finish(y: Tensor, out: int, scale: int, shift: int, second: int, dtype: torch.dtype) -> None:
    """Write the result, and relu(scale * result + shift) where that is wanted."""
    n, c, h, w = y.shape
    target = nhwc(out, dtype, n, c, h, w)
    assert target is not None
    target.copy_(y)
    if second:
        factor, addend = (at(address, torch.float32, c, 1, 1) for address in (scale, shift))
        nhwc(second, dtype, n, c, h, w).copy_(F.relu(target.float() * factor + addend))  # type: ignore[union-attr]


def conv(
    shape: ConvShape, x: int, packed: int, bias: int, residual: int, upsample_to: int, extra_x: int, y: int,
    scale2: int, shift2: int, y2: int, relu: int, workspace: int, workspace_bytes: int, stream: int,
) -> None:  # fmt: skip
    """As csrc/common/conv.h describes it."""
    s, dtype = shape, DTYPES[shape.dtype]
    check_counters(workspace)
    weight, extra = unpacked(s, packed)
    found = F.conv2d(nhwc(x, dtype, s.n, s.c, s.h, s.w), weight, None, s.stride, s.kernel // 2)
    if extra is not None:
        found = found + F.conv2d(
            nhwc(extra_x, dtype, s.n, s.extra_c, s.extra_h, s.extra_w), extra, None, s.extra_stride
        )
    if bias:
        found = found + at(bias, torch.float32, s.k, 1, 1).to(dtype)  # type: ignore[union-attr]
    if residual:
        found = found + nhwc(residual, dtype, *found.shape)
    if relu:
        found = F.relu(found)
    if upsample_to:
        found = reference.upsample_add(nhwc(upsample_to, dtype, s.n, s.k, s.out_h, s.out_w), found)
    finish(found, y, scale2, shift2, y2, dtype)


def bottleneck_query(
    n: int, h: int, w: int, c: int, m: int, out_h: int, out_w: int, dtype: int, algorithm: int, threads: int
) -> tuple[int, int, int, int, int, int, str]:
    """It pays from two images on, where there are twice as many channels around as within."""
    takes = 2 * m == c
    return (algorithm or 1, int(n > 1), 17, 17, 17, COUNTERS, "fake block") if takes else (0, 0, 0, 0, 0, 0, "")


def bottleneck(
    n: int, h: int, w: int, c: int, m: int, out_h: int, out_w: int, dtype_code: int, algorithm: int, x: int,
    scale: int, shift: int, weight1: int, bias1: int, weight2: int, bias2: int, weight3: int, bias3: int,
    upsample_to: int, y: int, scale2: int, shift2: int, y2: int, workspace: int, workspace_bytes: int, stream: int,
) -> None:  # fmt: skip
    """As csrc/common/bottleneck.h describes it."""
    dtype = DTYPES[dtype_code]
    check_counters(workspace)
    shapes = (m, c, 1, 1), (m, m, 3, 3), (c, m, 1, 1)
    packed, biases = (weight1, weight2, weight3), (bias1, bias2, bias3)
    weights = [at(p, torch.float32, *shape) for p, shape in zip(packed, shapes, strict=True)]
    rows = [at(b, torch.float32, shape[0]) for b, shape in zip(biases, shapes, strict=True)]
    parts = [part.to(dtype) for pair in zip(weights, rows, strict=True) for part in pair]  # type: ignore[union-attr]
    images, other = nhwc(x, dtype, n, c, h, w), nhwc(upsample_to, dtype, n, c, out_h, out_w)
    result = reference.bottleneck(
        images, at(scale, torch.float32, c), at(shift, torch.float32, c), *parts, upsample_to=other
    )
    finish(result, y, scale2, shift2, y2, dtype)
