"""The whole pre-activation bottleneck's CUDA kernels, each by its number, against float64: emulated, or on a GPU."""

from __future__ import annotations

import math

import pytest
import torch

from hgfast import models
from hgfast.frozen.build import build_graph
from hgfast.frozen.freeze import TOLERANCE
from hgfast.frozen.model import FrozenModel
from tests.bottleneck_cases import CHANNELS, NARROW, TILES, Case, check, draw, expected, run
from tests.emulator.device import emulated_cuda
from tests.recipe import apply_recipe
from tests.tolerances import HALF_TYPES, assert_close


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
    check(Case(2, 5, 9, *CHANNELS[tile], "o2", algorithm=TILES[tile]), machine, in_place="upsample_to")


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
