"""Calls of the fused convolution on the CPU: arguments, and a native call beside the same in float64.

`python -m tests.conv_calls` makes bfloat16 calls by every algorithm and raises where one errs: run under HGFAST_CPU_ISA
it tries the kernels of a processor that can do less than this one.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

import hgfast
from hgfast import _native, reference
from hgfast.ops._conv_native import ConvShape, multiplies_bfloat16, pack, query
from tests.tolerances import relative_error

FLOAT_ALGORITHMS = [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (5, 2), (6, 2)]  # csrc/cpu/conv_layout.h, and a stride
PAIR_ALGORITHMS = [(7, 1), (7, 2), (8, 1), (9, 1), (10, 2)]  # of bfloat16 alone, where the processor has AVX512_BF16
DIRECT_TILES = 11  # csrc/cpu/amx/layout.h: of bfloat16 alone, where the processor has AMX
BFLOAT16_ERROR = 2.0**-8


def make(
    n: int, h: int, w: int, c: int, k: int, kernel: int = 3, stride: int = 1, extras: str = "", device: str = "cpu"
) -> dict[str, Any]:
    """Arguments; extras: r residual, u upsampled to twice the size, o to an odd size, n no bias, l no ReLU."""
    generator = torch.Generator().manual_seed(n * h * w * c * k)
    p, q = -(-h // stride), -(-w // stride)

    def draw(*shape: int) -> Tensor:
        value = torch.randn(*shape, generator=generator).to(device)
        return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value

    arguments = {
        "x": draw(n, c, h, w),
        "weight": draw(k, c, kernel, kernel) / (c * kernel**2) ** 0.5,
        "bias": None if "n" in extras else draw(k),
        "stride": stride,
        "residual": draw(n, k, p, q) if "r" in extras else None,
        "relu": "l" not in extras,
        "upsample_to": None,
    }
    if "u" in extras or "o" in extras:
        odd = int("o" in extras)
        arguments["upsample_to"] = draw(n, k, 2 * p - odd, 2 * q - odd)
    return arguments


def double(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value.double() if isinstance(value, Tensor) else value for name, value in arguments.items()}


def native(
    algorithm: int,
    stride: int,
    threads: int,
    extra: bool,
    second: bool,
    dtype: torch.dtype = torch.float32,
    channels: tuple[int, int, int] = (24, 40, 17),
) -> tuple[Tensor, Tensor]:
    """One native call with everything on, by a given algorithm; and the same in float64, both outputs side by side.

    channels: of the input, the output and the extra input.
    """
    lib, (c, k, extra_c), (n, h, w) = _native.library("cpu"), channels, (2, 9, 14)
    a = make(n, h, w, c, k, 3, stride, "ro")
    p, q = a["residual"].shape[2:]
    more = make(n, 2 * p - 1, 2 * q - 1, extra_c, k, 1, 2)
    for arguments, names in ((a, ("x", "residual", "upsample_to")), (more, ("x",))):
        arguments |= {name: arguments[name].to(dtype) for name in names}
    extras = (2 * p - 1, 2 * q - 1, extra_c, 2) if extra else (0, 0, 0, 1)
    sizes = ConvShape(n, h, w, c, k, 3, stride, *a["upsample_to"].shape[2:], *extras, dtype=dtype)
    needs = query(lib, sizes, threads, algorithm)
    assert needs.algorithm == algorithm
    packed = pack(lib, sizes, needs, a["weight"], more["weight"].flatten(1) if extra else None, threads)
    scale, shift, workspace = torch.rand(k) + 0.5, torch.randn(k), torch.empty(needs.workspace_bytes, dtype=torch.uint8)
    y = a["upsample_to"].clone()
    y2 = torch.empty_like(y) if second else None
    tensors = (a["x"], packed, a["bias"], a["residual"], y, more["x"] if extra else None, y, scale, shift, y2)
    addresses = [_native.ptr(t) for t in tensors]
    lib.conv(sizes.native(lib, algorithm), *addresses, 1, _native.ptr(workspace), needs.workspace_bytes, threads)
    if extra:
        shortcut = {**double(more), "bias": None, "relu": False}
        a["residual"] = a["residual"].double() + reference.conv_bias_act(**shortcut)
    expected = reference.conv_bias_act(**double(a))
    if y2 is None:
        return y, expected
    expected2 = torch.relu(expected * scale.double()[:, None, None] + shift.double()[:, None, None])
    return torch.cat([y, y2]), torch.cat([expected, expected2])


def check_bfloat16(algorithm: int, stride: int, threads: int, channels: tuple[int, int, int]) -> None:
    """All epilogues in bfloat16 against float64."""
    for extra, second in itertools.product((False, True), repeat=2):
        out, expected = native(algorithm, stride, threads, extra, second, torch.bfloat16, channels)
        error = relative_error(out, expected)
        assert error <= BFLOAT16_ERROR, f"algorithm {algorithm}, channels {channels}: relative error {error:.1e}"


def has_pairs() -> bool:
    """Whether this processor, or what HGFAST_CPU_ISA makes of it, multiplies pairs of bfloat16."""
    return multiplies_bfloat16(_native.library("cpu"))


def has_tiles() -> bool:
    """Whether this processor, or what HGFAST_CPU_ISA makes of it, multiplies tiles of bfloat16."""
    return bool(hgfast.build_info()["cpu"]["isa"] == "amx_bf16")


if __name__ == "__main__":
    for algorithm, stride in FLOAT_ALGORITHMS + PAIR_ALGORITHMS * has_pairs():
        check_bfloat16(algorithm, stride, 2, (24, 40, 17) if algorithm < 7 else (24, 40, 18))
    print(hgfast.build_info()["cpu"]["isa"], "pairs" if has_pairs() else "float32")
