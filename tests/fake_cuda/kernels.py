"""The kernels of which there is no form on the CPU, or one with other workspaces: computed by PyTorch, at addresses."""

from __future__ import annotations

import ctypes
import types
from dataclasses import dataclass
from typing import Any

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


def read(address: int, dtype: torch.dtype, n: int, c: int, h: int, w: int) -> Tensor:
    """Activations in float32."""
    found = nhwc(address, dtype, n, c, h, w)
    assert found is not None
    return found.float()


def read_row(address: int, count: int) -> Tensor:
    """A number for each channel, (C, 1, 1)."""
    found = at(address, torch.float32, count, 1, 1)
    assert found is not None
    return found


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


DEVICE = types.SimpleNamespace(major=9, minor=0, multiprocessors=132)
NAMES = {1: "fake", 2: "fake odd", 3: "fake wrong"}  # by algorithm % 16: numbers the batch, too, as kernels their tiles


def conv_query(shape: ConvShape, threads: int) -> tuple[int, int, int, int, str]:
    """Algorithm, bytes of packed weights and of the workspace, packing, name."""
    algorithm = shape.algorithm or 17 + shape.n % 2
    return algorithm, 4 * sum(shape.terms), COUNTERS, 0, NAMES[algorithm % 16]


def conv_candidates(shape: ConvShape, device: Any) -> list[tuple[Any, ...]]:
    """The best first: that of conv_query, then the other one."""
    first = conv_query(shape, 1)[0]
    return [(algorithm, NAMES[algorithm % 16], 1, 1.0, COUNTERS, 0, 0, 256, 1) for algorithm in (first, 35 - first)]


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
    return weight.to(dtype).float(), None if extra is None else extra.to(dtype).float()


def check_counters(workspace: int) -> None:
    counters = at(workspace, torch.uint8, COUNTERS)
    assert counters is not None and not counters.any(), "a workspace is not zero before its first call"


def finish(y: Tensor, out: int, scale: int, shift: int, second: int, dtype: torch.dtype) -> None:
    """Write the result, and relu(scale * result + shift) where that is wanted."""
    n, c, h, w = y.shape
    nhwc(out, dtype, n, c, h, w).copy_(y)  # type: ignore[union-attr]
    if second:
        result = F.relu(y * read_row(scale, c) + read_row(shift, c))
        nhwc(second, dtype, n, c, h, w).copy_(result)  # type: ignore[union-attr]


def conv(
    shape: ConvShape, x: int, packed: int, bias: int, residual: int, upsample_to: int, extra_x: int, y: int,
    scale2: int, shift2: int, y2: int, relu: int, workspace: int, workspace_bytes: int, stream: int,
) -> None:  # fmt: skip
    """As csrc/common/conv.h describes it; sums in float32."""
    s, dtype = shape, DTYPES[shape.dtype]
    check_counters(workspace)
    weight, extra = unpacked(s, packed)
    found = F.conv2d(read(x, dtype, s.n, s.c, s.h, s.w), weight, None, s.stride, s.kernel // 2)
    if extra is not None:
        found += F.conv2d(read(extra_x, dtype, s.n, s.extra_c, s.extra_h, s.extra_w), extra, None, s.extra_stride)
    if bias:
        found += read_row(bias, s.k)
    if residual:
        found += read(residual, dtype, *found.shape)
    if relu:
        found = F.relu(found)
    if upsample_to:
        found = reference.upsample_add(read(upsample_to, dtype, s.n, s.k, s.out_h, s.out_w), found)
    if NAMES[s.algorithm % 16] == "fake wrong":
        found[-1, -1, -1, -1] += 1
    finish(found, y, scale2, shift2, y2, dtype)


def bottleneck_query(
    n: int, h: int, w: int, c: int, m: int, out_h: int, out_w: int, dtype: int, algorithm: int, threads: int
) -> tuple[int, int, int, int, int, int, str]:
    """It pays from two images on, where there are twice as many channels around as within."""
    takes = 2 * m == c
    return (algorithm or 1, int(n > 1), 17, 17, 17, COUNTERS, "fake block") if takes else (0, 0, 0, 0, 0, 0, "")


def bottleneck_candidates(*sizes: Any) -> tuple[list[tuple[Any, ...]], float]:
    """The one that there is, and the cycles of three convolutions."""
    algorithm, pays, *_, name = bottleneck_query(*sizes[:-1], 0, 1)
    return [(algorithm, name, 1, 2.0 - pays, COUNTERS, 0, 0, 256, 1)] if algorithm else [], 1.5


def bottleneck(
    n: int, h: int, w: int, c: int, m: int, out_h: int, out_w: int, dtype_code: int, algorithm: int, x: int,
    scale: int, shift: int, weight1: int, bias1: int, weight2: int, bias2: int, weight3: int, bias3: int,
    upsample_to: int, y: int, scale2: int, shift2: int, y2: int, workspace: int, workspace_bytes: int, stream: int,
) -> None:  # fmt: skip
    """As csrc/common/bottleneck.h describes it; sums in float32, rounded between the convolutions."""
    dtype = DTYPES[dtype_code]
    check_counters(workspace)
    images = read(x, dtype, n, c, h, w)
    inner = F.relu(images * read_row(scale, c) + read_row(shift, c))
    layers = (weight1, bias1, (m, c, 1, 1)), (weight2, bias2, (m, m, 3, 3)), (weight3, bias3, (c, m, 1, 1))
    for number, (packed, bias, size) in enumerate(layers):
        weight = at(packed, torch.float32, *size).to(dtype).float()  # type: ignore[union-attr]
        inner = F.conv2d(inner.to(dtype).float(), weight, None, 1, size[-1] // 2) + read_row(bias, size[0])
        inner = F.relu(inner) if number < 2 else inner + images
    if upsample_to:
        inner = reference.upsample_add(read(upsample_to, dtype, n, c, out_h, out_w), inner)
    finish(inner, y, scale2, shift2, y2, dtype)
