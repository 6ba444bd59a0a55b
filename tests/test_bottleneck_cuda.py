"""The whole pre-activation bottleneck's CUDA kernels, each by its number, against float64: emulated, or on a GPU."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from hgfast import _native, models
from hgfast.frozen.build import build_graph
from hgfast.frozen.freeze import TOLERANCE
from hgfast.frozen.model import FrozenModel
from hgfast.ops import _bottleneck_native
from hgfast.ops._bottleneck_native import BottleneckSizes
from tests.bottleneck_cases import CHANNELS, NARROW, TILES, Case, check, draw, expected, run
from tests.emulator.device import emulated_cuda
from tests.recipe import apply_recipe
from tests.tolerances import HALF_TYPES, assert_close


@pytest.fixture
def machine(device: str) -> str:
    """Device for the tensors whose kernels are CUDA kernels."""
    if not _native.on_cuda(torch.empty(0, device=device)):
        pytest.skip("CUDA kernels: run with --device emulator, or cuda")
    return device


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

    def query(n: int, side: int, c: int, m: int, dtype: torch.dtype = torch.bfloat16) -> Any:
        return _bottleneck_native.query(lib, BottleneckSizes(n, side, side, c, m, dtype=dtype), 0)

    for c, m, dtype in ((256, 128, torch.float32), (512, 256, torch.float16), (20, 16, torch.float16)):
        assert query(64, 64, c, m, dtype) is None
    large, narrow, small = query(64, 64, 256, 128), query(64, 64, 128, 64), query(1, 4, 256, 128)
    assert large.pays and narrow.pays and not small.pays
    if machine == "cpu":  # a Hopper's shared memory; other cards have less
        assert large.kernel == "wgmma bottleneck 8x16x128" and narrow.kernel == "wgmma bottleneck 8x16x64"


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_frozen_network(dtype: torch.dtype, machine: str) -> None:
    """The large levels in whole blocks, the lower ones in three convolutions each."""
    model = apply_recipe(models.StackedHourglass(1, 32, 16, 0, (16, 32), "reference"), 7).eval()
    frozen = FrozenModel(build_graph(model), dtype, torch.device(machine))
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        exact = model.double()(images.double())
    for ours, reference64 in zip(frozen(images.to(machine)), exact, strict=True):
        assert (ours.cpu().double() - reference64).norm() <= TOLERANCE[dtype] * reference64.norm()
    if machine == "cpu":  # the emulator's card has 4 multiprocessors: on a real one these sizes are too small
        text = frozen.describe(2, 128, 128)
        assert "BN-ReLU + 1x1 + 3x3 + 1x1 + skip + merge" in text and "mma bottleneck 8x16x64" in text
