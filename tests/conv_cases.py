"""Cases of the CUDA convolution tests: their arguments, what torch makes of them, and the kernel's call."""

from __future__ import annotations

import dataclasses
import itertools
import os
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hgfast import _native
from hgfast.ops._conv_native import ConvShape, pack, query
from tests.tolerances import assert_close

# csrc/cuda/conv_choice.cuh: ConvKernel
MMA = {"256x128": 2, "128x64": 3, "64x64": 4, "64x32": 5}
WGMMA = {"256": 6, "192": 7, "128": 8, "64": 9}
CHOSEN = 0
EPILOGUES = ["", "r", "rl", "n", "u", "ru", "o", "2", "r2", "rul2", "o2"]
AWKWARD = [(1, 1), (2, 3), (3, 5), (5, 7), (7, 16), (16, 2), (33, 3)]
WIDTHS = [(8, 8), (24, 16), (16, 24), (64, 136), (72, 64), (128, 40), (40, 17)]


@dataclasses.dataclass(frozen=True)
class Case:
    """extras: r = residual, u = merged into twice the size, o = into an odd size, 2 = second output, n = no bias, l =
    linear (no ReLU)."""

    n: int
    h: int
    w: int
    c: int
    k: int
    kernel: int = 3
    stride: int = 1
    extras: str = ""
    extra_c: int = 0
    extra_stride: int = 1
    dtype: torch.dtype = torch.float16
    algorithm: int = CHOSEN
    splits: int = 1
    exact: bool = False

    @property
    def result(self) -> tuple[int, int]:
        return -(-self.h // self.stride), -(-self.w // self.stride)

    @property
    def output(self) -> tuple[int, int]:
        p, q = self.result
        odd = int("o" in self.extras)
        return (2 * p - odd, 2 * q - odd) if "u" in self.extras or odd else (p, q)


def draw(case: Case) -> dict[str, Tensor | None]:
    """Random arguments, NHWC, rounded to the case's dtype where the kernel sees them in it."""
    generator = torch.Generator().manual_seed(hash(dataclasses.astuple(case)[:5]) % 1000)

    def normal(*shape: int, scale: float = 1.0, dtype: torch.dtype = case.dtype) -> Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(dtype)

    (p, q), (out_h, out_w) = case.result, case.output
    terms = case.c * case.kernel**2 + case.extra_c
    merged, second = case.output != case.result, "2" in case.extras
    extra_size = (p - 1) * case.extra_stride + 1, (q - 1) * case.extra_stride + 1
    return {
        "x": normal(case.n, case.h, case.w, case.c),
        "weight": normal(case.k, case.c, case.kernel, case.kernel, scale=terms**-0.5),
        "extra_x": normal(case.n, *extra_size, case.extra_c) if case.extra_c else None,
        "extra_weight": normal(case.k, case.extra_c, scale=terms**-0.5) if case.extra_c else None,
        "bias": None if "n" in case.extras else normal(case.k, dtype=torch.float32),
        "residual": normal(case.n, p, q, case.k) if "r" in case.extras else None,
        "upsample_to": normal(case.n, out_h, out_w, case.k) if merged else None,
        "scale2": normal(case.k, dtype=torch.float32) if second else None,
        "shift2": normal(case.k, dtype=torch.float32) if second else None,
    }


def expected(case: Case, arguments: dict[str, Tensor | None], dtype: torch.dtype) -> list[Tensor]:
    """The outputs by torch's operators in a dtype, NHWC."""
    a = {name: None if value is None else value.to(dtype) for name, value in arguments.items()}

    def nchw(tensor: Tensor) -> Tensor:
        return tensor.permute(0, 3, 1, 2)

    v = F.conv2d(nchw(a["x"]), a["weight"], a["bias"], case.stride, case.kernel // 2)
    if case.extra_c:
        v = v + F.conv2d(nchw(a["extra_x"]), a["extra_weight"][:, :, None, None], None, case.extra_stride)
    if a["residual"] is not None:
        v = v + nchw(a["residual"])
    if "l" not in case.extras:
        v = v.relu()
    if a["upsample_to"] is not None:
        v = nchw(a["upsample_to"]) + F.interpolate(v, size=case.output)
    outputs = [v.permute(0, 2, 3, 1)]
    if a["scale2"] is not None:
        outputs.append((outputs[0] * a["scale2"] + a["shift2"]).relu())
    return outputs


def needs_hopper(device: str) -> None:
    """Skips the test on a GPU of another kind, or where tests/ptx imitates one."""
    real = device == "cuda" and torch.cuda.get_device_capability()[0] != 9
    if real or os.environ.get("HGFAST_PTX_ARCH", "90") != "90":
        pytest.skip("needs a Hopper GPU")


def run(case: Case, arguments: dict[str, Tensor | None], device: str, in_place: str = "") -> list[Tensor]:
    """The outputs by the kernel; in_place names the argument whose memory y takes."""
    if case.algorithm in WGMMA.values():
        needs_hopper(device)
    a = {name: None if value is None else value.to(device) for name, value in arguments.items()}
    lib: Any = _native.library(device)
    handle = _native.exec_handle(a["x"])
    extra_h, extra_w = (0, 0) if a["extra_x"] is None else a["extra_x"].shape[1:3]
    sizes = ConvShape(
        *(case.n, case.h, case.w, case.c, case.k, case.kernel, case.stride, *case.output),
        *(extra_h, extra_w, case.extra_c, case.extra_stride),
        dtype=case.dtype,
        exact=case.exact,
    )
    needs = query(lib, sizes, handle, case.algorithm and case.algorithm + 16 * case.splits)
    packed = pack(lib, sizes, needs, a["weight"], a["extra_weight"], handle)
    y = a[in_place] if in_place else torch.empty(case.n, *case.output, case.k, dtype=case.dtype, device=device)
    y2 = None if a["scale2"] is None else torch.empty_like(y)
    workspace = torch.zeros(needs.workspace_bytes, dtype=torch.uint8, device=device)
    read, write = _native.ptr, _native.inout if in_place else _native.out
    for _ in range(1 if in_place else 2):  # twice: the first call leaves the workspace's counters ready for the second
        lib.conv(
            sizes.native(lib, needs.algorithm),
            *(read(a["x"]), read(packed), read(a["bias"]), read(a["residual"]), read(a["upsample_to"])),
            *(read(a["extra_x"]), write(y), read(a["scale2"]), read(a["shift2"]), write(y2)),
            *(int("l" not in case.extras), _native.inout(workspace), needs.workspace_bytes, handle),
        )
    return [y] if y2 is None else [y, y2]


def check(case: Case, device: str, in_place: str = "") -> None:
    arguments = draw(case)
    exact, same = expected(case, arguments, torch.float64), expected(case, arguments, case.dtype)
    for out, reference, rounded in zip(run(case, arguments, device, in_place), exact, same, strict=True):
        assert_close("conv_bias_act" if case.exact else "conv tf32", out.cpu(), reference, rounded)


def check_awkward(algorithm: int, dtype: torch.dtype, machine: str, exact: bool = False) -> None:
    """Each size with each width, filters and epilogues in turn (their numbers have no common divisor)."""
    filters, epilogues = itertools.cycle([(3, 1), (1, 1), (3, 2), (1, 2)]), itertools.cycle(EPILOGUES)
    for (h, w), widths in zip(AWKWARD, WIDTHS, strict=True):
        for (c, k), (size, stride), epilogue in zip((widths, (24, 16), (72, 40)), filters, epilogues, strict=False):
            case = Case(2, h, w, c, k, size, stride, epilogue, dtype=dtype, algorithm=algorithm, exact=exact)
            check(case, machine)
