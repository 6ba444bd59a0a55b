"""Cases of the whole bottleneck's tests: their arguments, what torch makes of them, and the kernel's call."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hgfast import _native
from hgfast.ops import _bottleneck_native, _conv_native
from hgfast.ops._bottleneck_native import BottleneckShape
from tests.conv_cases import needs_hopper
from tests.tolerances import assert_close

# csrc/cuda/bottleneck_args.cuh: BottleneckKernel
MMA = {"mma 8x16x128": 1, "mma 8x8x128": 2, "mma 8x16x64": 3}
WGMMA = {"wgmma 8x16x128": 4, "wgmma 8x8x128": 5, "wgmma 8x16x64": 6}
TILES = MMA | WGMMA
CHANNELS = dict(zip(TILES, [(144, 72), (256, 128), (32, 16)] * 2, strict=True))
NARROW = {"mma": MMA["mma 8x16x64"], "wgmma": WGMMA["wgmma 8x16x64"]}


@dataclasses.dataclass(frozen=True)
class Case:
    """extras: u = merged into twice the size, o = into an odd size, 2 = second output."""

    n: int
    h: int
    w: int
    c: int
    m: int
    extras: str = ""
    dtype: torch.dtype = torch.float16
    algorithm: int = 0

    @property
    def sizes(self) -> BottleneckShape:
        odd = int("o" in self.extras)
        out = (2 * self.h - odd, 2 * self.w - odd) if "u" in self.extras or odd else (self.h, self.w)
        return BottleneckShape(self.n, self.h, self.w, self.c, self.m, *out, dtype=self.dtype)


def draw(case: Case) -> dict[str, Tensor]:
    """Random arguments, NHWC; those that the kernel sees in the case's dtype are rounded to it."""
    generator = torch.Generator().manual_seed(case.h * case.w * case.c)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    n, h, w, c, m = dataclasses.astuple(case)[:5]
    shapes = {"x": (n, h, w, c), "weight1": (m, c, 1, 1), "weight2": (m, m, 3, 3), "weight3": (c, m, 1, 1)}
    if case.sizes.output != (h, w):
        shapes["upsample_to"] = (n, *case.sizes.output, c)
    found = {
        name: normal(*s, scale=math.prod(s[1:]) ** -0.5 if "w" in name[0] else 1.0).to(case.dtype)
        for name, s in shapes.items()
    }
    widths = {"scale1": c, "shift1": c, "bias1": m, "bias2": m, "bias3": c}
    if "2" in case.extras:
        widths.update(scale2=c, shift2=c)
    return found | {name: normal(width) for name, width in widths.items()}


def expected(arguments: dict[str, Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The outputs by torch's operators in a dtype, NHWC."""
    a = {name: value.to(dtype) for name, value in arguments.items()}

    def conv(t: Tensor, index: int) -> Tensor:
        weight = a[f"weight{index}"]
        return F.conv2d(t.permute(0, 3, 1, 2), weight, a[f"bias{index}"], 1, weight.shape[-1] // 2).permute(0, 2, 3, 1)

    t = (a["x"] * a["scale1"] + a["shift1"]).relu()
    v = conv(conv(conv(t, 1).relu(), 2).relu(), 3) + a["x"]
    if "upsample_to" in a:
        size = a["upsample_to"].shape[1:3]
        v = F.interpolate(v.permute(0, 3, 1, 2), size=size).permute(0, 2, 3, 1) + a["upsample_to"]
    return [v] + ([(v * a["scale2"] + a["shift2"]).relu()] if "scale2" in a else [])


def run(case: Case, arguments: dict[str, Tensor], device: str, in_place: str = "") -> list[Tensor]:
    """The outputs by the kernel; in_place names the argument whose memory y takes."""
    if case.algorithm in WGMMA.values():
        needs_hopper(device)
    a = {name: value.to(device) for name, value in arguments.items()}
    lib: Any = _native.library(device)
    handle, sizes, read = _native.exec_handle(a["x"]), case.sizes, _native.ptr
    needs = _bottleneck_native.query(lib, sizes, handle, case.algorithm)
    assert needs is not None and needs.algorithm == (case.algorithm or needs.algorithm) and needs.kernel
    weights: list[Any] = []
    for i, conv in enumerate(sizes.convs):
        conv_needs = _conv_native.query(lib, conv, handle, needs.conv_algorithms[i])
        packed = _conv_native.pack(lib, conv, conv_needs, a[f"weight{i + 1}"], None, handle)
        weights += [read(packed), read(a[f"bias{i + 1}"])]
    y = a[in_place] if in_place else torch.empty(case.n, *sizes.output, case.c, dtype=case.dtype, device=device)
    y2 = torch.empty_like(y) if "scale2" in a else None
    workspace = torch.zeros(needs.workspace_bytes, dtype=torch.uint8, device=device)
    lib.bottleneck(
        *sizes.native(needs.algorithm),
        *(read(a["x"]), read(a["scale1"]), read(a["shift1"]), *weights, read(a.get("upsample_to"))),
        *((_native.inout if in_place else _native.out)(y), read(a.get("scale2")), read(a.get("shift2"))),
        *(_native.out(y2), _native.inout(workspace), needs.workspace_bytes, handle),
    )
    return [y] if y2 is None else [y, y2]


def check(case: Case, device: str, in_place: str = "") -> None:
    arguments = draw(case)
    exact, same = expected(arguments, torch.float64), expected(arguments, case.dtype)
    for out, reference64, rounded in zip(run(case, arguments, device, in_place), exact, same, strict=True):
        assert_close("bottleneck", out.cpu(), reference64, rounded)
