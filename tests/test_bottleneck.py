"""The whole pre-activation bottleneck, by each of its tiles, against float64: on the emulator, or on a GPU."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hgfast import _native, models
from hgfast.frozen.build import build_graph
from hgfast.frozen.freeze import TOLERANCE
from hgfast.frozen.model import FrozenModel
from hgfast.ops import _bottleneck_native, _conv_native
from hgfast.ops._bottleneck_native import BottleneckSizes
from tests.emulator.device import emulated_cuda
from tests.recipe import apply_recipe
from tests.tolerances import HALF_TYPES, assert_close

# csrc/cuda/bottleneck_args.cuh: BottleneckKernel
MMA = {"mma 8x16x128": 1, "mma 8x8x128": 2, "mma 8x16x64": 3}
WGMMA = {"wgmma 8x16x128": 4, "wgmma 8x8x128": 5, "wgmma 8x16x64": 6}
TILES = MMA | WGMMA
CHANNELS = dict(zip(TILES, [(144, 72), (256, 128), (32, 16)] * 2, strict=True))
NARROW = {"mma": MMA["mma 8x16x64"], "wgmma": WGMMA["wgmma 8x16x64"]}


@pytest.fixture
def machine(device: str) -> str:
    """Device for the tensors whose kernels are CUDA kernels."""
    if not _native.on_cuda(torch.empty(0, device=device)):
        pytest.skip("CUDA kernels: run with --device emulator, or cuda")
    return device


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
    def sizes(self) -> BottleneckSizes:
        odd = int("o" in self.extras)
        out = (2 * self.h - odd, 2 * self.w - odd) if "u" in self.extras or odd else (self.h, self.w)
        return BottleneckSizes(self.n, self.h, self.w, self.c, self.m, *out, dtype=self.dtype)


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


def run(case: Case, arguments: dict[str, Tensor], device: str, in_place: bool = False) -> list[Tensor]:
    """The outputs by the kernel; in_place: y in the memory of upsample_to."""
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
    y = a["upsample_to"] if in_place else torch.empty(case.n, *sizes.output, case.c, dtype=case.dtype, device=device)
    y2 = torch.empty_like(y) if "scale2" in a else None
    workspace = torch.zeros(needs.workspace_bytes, dtype=torch.uint8, device=device)
    lib.bottleneck(
        *sizes.native(needs.algorithm),
        *(read(a["x"]), read(a["scale1"]), read(a["shift1"]), *weights, read(a.get("upsample_to"))),
        *((_native.inout if in_place else _native.out)(y), read(a.get("scale2")), read(a.get("shift2"))),
        *(_native.out(y2), _native.inout(workspace), needs.workspace_bytes, handle),
    )
    return [y] if y2 is None else [y, y2]


def check(case: Case, device: str, in_place: bool = False) -> None:
    if case.algorithm in WGMMA.values() and device == "cuda" and torch.cuda.get_device_capability()[0] != 9:
        pytest.skip("needs a Hopper GPU")
    arguments = draw(case)
    exact, same = expected(arguments, torch.float64), expected(arguments, case.dtype)
    for out, reference, rounded in zip(run(case, arguments, device, in_place), exact, same, strict=True):
        assert_close("bottleneck", out.cpu(), reference, rounded)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(
    ("n", "h", "w", "extras"),
    [(1, 1, 1, ""), (3, 2, 3, "u2"), (2, 5, 7, "o"), (1, 8, 16, "2"), (1, 33, 17, ""), (2, 9, 18, "o2")],
)
def test_sizes(n: int, h: int, w: int, extras: str, tile: str, dtype: torch.dtype, machine: str) -> None:
    check(Case(n, h, w, *CHANNELS[tile], extras, dtype, TILES[tile]), machine)


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize(
    ("tile", "c", "m"),
    [
        *(("8x16x128", 256, 128), ("8x16x128", 200, 104), ("8x16x128", 384, 72), ("8x8x128", 8, 72)),
        *(("8x16x64", 128, 64), ("8x16x64", 8, 8), ("8x16x64", 96, 48), ("8x16x64", 256, 24)),
    ],
)
def test_channels(kind: str, tile: str, c: int, m: int, machine: str) -> None:
    """Widths that fill rows of 128 bytes, and that do not; C that is not 2 M."""
    check(Case(2, 5, 9, c, m, "2", algorithm=TILES[f"{kind} {tile}"]), machine)


@pytest.mark.parametrize("kind", NARROW)
def test_padding_is_that_of_the_activation(kind: str, machine: str) -> None:
    """A constant picture: with zeros around x instead of around t the border of y would be another."""
    case = Case(1, 6, 6, 32, 16, algorithm=NARROW[kind])
    arguments = draw(case)
    arguments["x"].zero_()
    arguments["shift1"].fill_(2.0)
    arguments["bias1"].fill_(3.0)
    exact, same = expected(arguments, torch.float64), expected(arguments, case.dtype)
    assert (exact[0][0, 0, 0] - exact[0][0, 3, 3]).abs().max() > 0.1
    assert_close("bottleneck", run(case, arguments, machine)[0].cpu(), exact[0], same[0])


@pytest.mark.parametrize("tile", TILES)
def test_in_place(tile: str, machine: str) -> None:
    """y in the memory of what it is merged into."""
    check(Case(2, 5, 9, *CHANNELS[tile], "o2", algorithm=TILES[tile]), machine, in_place=True)


@pytest.mark.parametrize("kind", NARROW)
def test_schedules(kind: str, machine: str) -> None:
    """Threads and blocks in other orders; copies and products that land at once, or at random."""
    if machine != "cpu":
        pytest.skip("the emulator's schedules")
    for order, asynchronous in (("reverse", "eager"), ("shuffled", "mixed")):
        with emulated_cuda(order=order, asynchronous=asynchronous):
            check(Case(1, 9, 18, 72, 40, "2", algorithm=NARROW[kind]), machine)


@pytest.mark.parametrize("kind", NARROW)
def test_nan_stays_in_its_neighbourhood(kind: str, machine: str) -> None:
    case = Case(1, 9, 20, 32, 16, algorithm=NARROW[kind])
    arguments = draw(case)
    arguments["x"][0, 4, 15, 3] = math.nan
    out = run(case, arguments, machine)[0].cpu()
    assert out[0, 3:6, 14:17].isnan().all() and out.isnan().sum() == 9 * case.c


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": 9}, "there is no algorithm 9"),
        ({"m": 136}, "does not take this shape, dtype or device: n 1, h 4, w 4, c 64, m 136"),
        ({"m": 64}, "algorithm 1 does not take"),
        ({"c": 20}, "does not take this shape"),
        ({"dtype": torch.float32}, "does not take this shape"),
        ({"n": 1 << 22, "h": 64}, "does not take this shape"),
    ],
)
def test_refused_shapes(change: dict[str, Any], message: str, machine: str) -> None:
    case = dataclasses.replace(Case(1, 4, 4, 64, 72, algorithm=1), **change)
    with pytest.raises(ValueError, match=message):
        _bottleneck_native.query(_native.library(machine), case.sizes, 0, case.algorithm)


def test_refused_tensors(machine: str) -> None:
    case = Case(1, 4, 4, 32, 16, algorithm=NARROW["mma"])
    arguments = draw(case)
    x = arguments["x"]
    arguments["x"] = torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)
    with pytest.raises(ValueError, match="start at a multiple of 16 bytes"):
        run(case, arguments, machine)


def test_choice(machine: str) -> None:
    """Large levels run as one kernel, those that leave most of the card idle as three split convolutions."""
    lib: Any = _native.library(machine)
    large = _bottleneck_native.query(lib, BottleneckSizes(64, 64, 64, 256, 128, dtype=torch.bfloat16), 0)
    assert large is not None and large.kernel.endswith("mma bottleneck 8x16x128")
    narrow = _bottleneck_native.query(lib, BottleneckSizes(64, 64, 64, 128, 64, dtype=torch.bfloat16), 0)
    assert narrow is not None and narrow.kernel.endswith("mma bottleneck 8x16x64")
    for c, m, dtype in ((256, 128, torch.float32), (512, 256, torch.float16), (20, 16, torch.float16)):
        assert _bottleneck_native.query(lib, BottleneckSizes(64, 64, 64, c, m, dtype=dtype), 0) is None


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_frozen_network(dtype: torch.dtype, machine: str) -> None:
    """The large levels in whole blocks, the lower ones in three convolutions each."""
    model = apply_recipe(models.StackedHourglass(1, 32, 16, 0, (16, 32), "reference"), 7).eval()
    frozen = FrozenModel(build_graph(model), dtype, torch.device(machine))
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        exact = model.double()(images.double())
    for ours, reference in zip(frozen(images.to(machine)), exact, strict=True):
        assert (ours.cpu().double() - reference).norm() <= TOLERANCE[dtype] * reference.norm()
    if machine == "cpu":  # the emulator's card has 4 multiprocessors: on a real one these sizes are too small
        text = frozen.describe(2, 128, 128)
        assert "BN-ReLU + 1x1 + 3x3 + 1x1 + skip + merge" in text and "mma bottleneck 8x16x64" in text
