"""The CUDA convolution kernels, each by its number, against float64: on the emulator, or on a GPU."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math

import pytest
import torch

from hgfast import models
from hgfast.frozen.build import build_graph
from hgfast.frozen.freeze import TOLERANCE
from hgfast.frozen.model import FrozenModel
from tests.conv_cases import EPILOGUES, MMA, WGMMA, Case, check, check_awkward, draw, run
from tests.emulator.device import emulated_cuda
from tests.recipe import apply_recipe
from tests.tolerances import relative_error

HALVES = [torch.float16, torch.bfloat16]
DTYPES = [*HALVES, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", MMA)
def test_mma(kernel: str, dtype: torch.dtype, machine: str) -> None:
    check_awkward(MMA[kernel], dtype, machine)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kernel", WGMMA)
def test_wgmma(kernel: str, dtype: torch.dtype, machine: str) -> None:
    check_awkward(WGMMA[kernel], dtype, machine)


@pytest.mark.parametrize(("h", "w"), [(16, 16), (8, 8), (4, 4), (17, 9), (12, 20)])
def test_wgmma_boxes_and_items(h: int, w: int, machine: str) -> None:
    """Boxes over lines, columns and images; more items than multiprocessors, so that the rings run across items."""
    for n, epilogue in ((1, "r"), (3, "ru")):
        check(Case(n, h, w, 72, 200, 3, 1, epilogue, algorithm=WGMMA["64"]), machine)
    check(Case(3, h, w, 136, 260, 3, 1, "r2", algorithm=WGMMA["256"]), machine)
    check(Case(5, h, w, 72, 72, 1, 1, "r", algorithm=WGMMA["64"]), machine)


@pytest.mark.parametrize(("h", "w"), [(16, 32), (9, 32), (7, 7), (11, 37), (40, 12), (3, 130), (11, 6)])
def test_wgmma_strided_runs(h: int, w: int, machine: str) -> None:
    """A tile of a strided input is copied as one run of pixels, over whole images, or line by line, or in parts."""
    for n, kernel, epilogue in ((3, 3, "r"), (1, 1, "ru"), (2, 3, "2")):
        check(Case(n, h, w, 72, 136, kernel, 2, epilogue, algorithm=WGMMA["64"]), machine)
    p, q = -(-h // 2), -(-w // 2)
    check(Case(2, p, q, 40, 72, 3, 1, "r", 72, 2, algorithm=WGMMA["64"]), machine)


@pytest.mark.parametrize("algorithm", [*MMA.values(), *WGMMA.values()])
def test_extra_input(algorithm: int, machine: str) -> None:
    """The 1x1 shortcut, strided or widening, as further K."""
    for stride, extra_stride, extra_c in ((1, 1, 24), (2, 2, 72), (2, 1, 8), (1, 2, 136)):
        check(Case(2, 9, 7, 40, 72, 3, stride, "2", extra_c, extra_stride, algorithm=algorithm), machine)
    check(Case(2, 9, 7, 40, 72, 1, 1, "ru", 24, 1, algorithm=algorithm), machine)
    check(Case(2, 9, 7, 40, 72, 1, 1, "", 24, 2, algorithm=algorithm), machine)


@pytest.mark.parametrize("algorithm", [*MMA.values(), *WGMMA.values()])
@pytest.mark.parametrize("splits", [2, 3, 5])
def test_split_k(algorithm: int, splits: int, machine: str) -> None:
    check(Case(1, 4, 4, 136, 72, 3, 1, "r", algorithm=algorithm, splits=splits), machine)
    check(Case(2, 9, 7, 136, 72, 3, 2, "u2", 24, 1, algorithm=algorithm, splits=splits), machine)


def test_split_k_is_deterministic(machine: str) -> None:
    case = Case(2, 6, 6, 264, 72, algorithm=MMA["64x64"], splits=5)
    arguments = draw(case)
    first = run(case, arguments, machine)[0]
    for order in ("reverse", "shuffled"):
        with emulated_cuda(order=order) if machine == "cpu" else contextlib.nullcontext():
            assert torch.equal(run(case, arguments, machine)[0], first)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", MMA)
def test_odd_channels(kernel: str, dtype: torch.dtype, machine: str) -> None:
    """Widths that are no multiple of 16 bytes, of the input or of the extra one; a 5x5 filter of stride 3."""
    for c, size, stride, extra_c in ((21, 3, 1, 0), (33, 3, 2, 24), (16, 1, 1, 17), (70, 5, 3, 3)):
        check(Case(2, 9, 7, c, 17, size, stride, "r", extra_c, dtype=dtype, algorithm=MMA[kernel]), machine)


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_channels(dtype: torch.dtype, machine: str) -> None:
    """The stem, and other widths that are no multiple of 8."""
    for (c, k, kernel, stride), epilogue in zip(
        [(3, 128, 7, 2), (3, 64, 7, 1), (17, 24, 1, 1), (17, 17, 3, 1), (1, 8, 5, 3), (3, 17, 3, 2)],
        EPILOGUES,
        strict=False,
    ):
        for h, w in ((1, 1), (9, 21), (33, 6), (15 * stride, 30 * stride)):  # of the last, patches are gathered
            check(Case(2, h, w, c, k, kernel, stride, epilogue, dtype=dtype), machine)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stem(dtype: torch.dtype, machine: str) -> None:
    """Nothing but bias and ReLU, of which either may be absent; channels beyond one and two tiles of 64."""
    for k, extras in ((64, ""), (72, "l"), (136, "n")):
        check(Case(2, 30, 62, 3, k, 7, 2, extras, dtype=dtype), machine)
    case = Case(1, 32, 64, 3, 8, 7, 2, "l", dtype=dtype)
    arguments = draw(case)
    assert arguments["x"] is not None
    arguments["x"][0, 9, 9, 0] = math.inf  # a filter's first term, which what fills K up to a whole step must not be
    out = run(case, arguments, machine)[0].cpu()
    assert not out.isnan().any()
    assert out[0, 3:7, 3:7].isinf().all() and out.isinf().sum() == 16 * 8  # where a filter lies over it


@pytest.mark.parametrize("algorithm", [MMA["64x64"], MMA["256x128"], WGMMA["64"], WGMMA["256"]])
def test_in_place(algorithm: int, machine: str) -> None:
    """y in the memory of the residual, or of what it is merged into."""
    for splits in (1, 3):
        case = Case(2, 7, 9, 72, 72, 3, 1, "r", algorithm=algorithm, splits=splits)
        check(case, machine, "residual")
        check(dataclasses.replace(case, extras="ru2"), machine, "upsample_to")


def test_mixed_schedule(machine: str) -> None:
    """Asynchronous copies and products that land now or later, at random."""
    if machine != "cpu":
        pytest.skip("the emulator's schedules")
    with emulated_cuda(order="shuffled", asynchronous="mixed"):
        for algorithm in (*MMA.values(), *WGMMA.values()):
            check(Case(3, 5, 9, 72, 72, 3, 1, "r2", 24, 1, algorithm=algorithm), machine)


def test_nan_and_infinity_pass_through(machine: str) -> None:
    case = Case(1, 3, 3, 8, 8, 1, 1, "r", algorithm=MMA["64x32"])
    arguments = draw(case)
    residual = arguments["residual"]
    assert residual is not None
    residual[0, 0, 0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    out = run(case, arguments, machine)[0].cpu()
    assert out[0, 0, 0, 0].isnan() and out[0, 0, 0, 1] == math.inf and out[0, 0, 0, 2] == 0
    assert out[0, 1:].isfinite().all()


NETWORKS = {
    "mmpose": lambda: models.HourglassPose(17, 2, 2, (8, 16, 24), (1, 2, 1), 16, (8, 8), "reference"),
    "princeton": lambda: models.StackedHourglass(2, 32, 17, 0, (16, 32), "reference"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", NETWORKS)
def test_whole_networks(family: str, dtype: torch.dtype, machine: str) -> None:
    """A frozen network: every call through these kernels, twice in the same workspace."""
    model = apply_recipe(NETWORKS[family](), 7).eval()
    frozen = FrozenModel(build_graph(model), dtype, torch.device(machine))
    for seed in (0, 1):
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)).to(dtype)
        with torch.no_grad():
            exact = model.double()(images.double())
        for ours, reference in zip(frozen(images.to(machine)), exact, strict=True):
            assert (ours.cpu().double() - reference).norm() <= max(TOLERANCE[dtype], 1e-2) * reference.norm()


@pytest.mark.parametrize("family", NETWORKS)
def test_whole_networks_in_float32_without_tf32(family: str, machine: str) -> None:
    model = apply_recipe(NETWORKS[family](), 7).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(images.double())
    errors = []
    for tf32 in (False, True):
        frozen = FrozenModel(build_graph(model), torch.float32, torch.device(machine), tf32=tf32)
        errors += [relative_error(a.cpu(), b) for a, b in zip(frozen(images.to(machine)), exact, strict=True)]
        assert ("3xtf32" in frozen.describe(2, 64, 64)) == (not tf32)
    assert max(errors[:2]) <= 1e-5 < 1e-4 < min(errors[2:])
