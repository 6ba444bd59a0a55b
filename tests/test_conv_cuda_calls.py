"""What is decided around the CUDA convolution kernels: the choice, exact or tf32, slices of a batch, refusals."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest
import torch

from hgfast import _native
from hgfast.ops import conv_bias_act, explain
from hgfast.ops._conv_native import ConvShape, query
from tests.conv_cases import CHOSEN, MMA, WGMMA, Case, check, check_awkward, draw, expected, run
from tests.tolerances import assert_close, relative_error


@pytest.mark.parametrize("kernel", ["128x64", "64x64", "64x32"])
def test_exact_mma(kernel: str, machine: str) -> None:
    """float32 by three products of tf32 numbers: within float32's tolerance."""
    algorithm = MMA[kernel]
    check_awkward(algorithm, torch.float32, machine, exact=True)
    for case in (
        Case(1, 4, 4, 136, 72, 3, 1, "r", algorithm=algorithm, splits=3),
        Case(2, 9, 7, 33, 17, 3, 2, "r", 17, 1, algorithm=algorithm),
        Case(1, 5, 6, 512, 40, 3, 1, "", algorithm=algorithm),
    ):
        check(dataclasses.replace(case, dtype=torch.float32, exact=True), machine)


def test_exact_few_channels(machine: str) -> None:
    for c, k, kernel, stride in ((3, 128, 7, 2), (17, 24, 1, 1), (1, 8, 5, 3)):
        check(Case(2, 9, 21, c, k, kernel, stride, "r2", dtype=torch.float32, exact=True), machine)


def test_exact_keeps_what_tf32_rounds_away(machine: str) -> None:
    """Differences of nearly equal products: tf32 gives nothing but noise."""
    case = Case(1, 4, 4, 64, 16, 1, 1, "nl", dtype=torch.float32, algorithm=MMA["64x64"], exact=True)
    arguments = draw(case)
    x, weight = arguments["x"], arguments["weight"]
    assert x is not None and weight is not None
    x[..., 1::2], weight[:, 1::2] = x[..., ::2], weight[:, ::2] * (-1 - 2.0**-13)
    (reference,), (out,) = expected(case, arguments, torch.float64), run(case, arguments, machine)
    (coarse,) = run(dataclasses.replace(case, exact=False), arguments, machine)
    assert (out.cpu() - reference).norm() < 3e-3 * reference.norm() < 0.1 * (coarse.cpu() - reference).norm()


def test_mma_obeys_allow_tf32(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(1, 40, 7, 9, generator=generator), torch.randn(24, 40, 3, 3, generator=generator)
    exact = torch.nn.functional.conv2d(x.double(), weight.double(), None, 1, 1)
    errors = []
    for allowed in (False, True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        assert explain("conv_bias_act", x, weight, None, 1, None, False, None).startswith("kernel")
        out = conv_bias_act(x.to(machine), weight.to(machine), None, relu=False)
        errors.append(relative_error(out, exact))
    assert errors[0] == errors[2] < 2e-6
    assert 1e-4 < errors[1] < 4e-4  # rounded to tf32; cut off it would be 6e-4


@pytest.mark.parametrize("algorithm", [CHOSEN, MMA["128x64"], WGMMA["64"]])
def test_slices_of_a_batch(algorithm: int, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven images in launches of three: the limit of elements is set for the emulator, which cannot hold more."""
    monkeypatch.setenv("HGFAST_EMULATOR_ELEMENTS", str(3 * 6 * 5 * 72 * 4 + 1))
    for case in (
        Case(7, 6, 5, 72, 72, 3, 1, "ru2", 40, 1, algorithm=algorithm),
        Case(7, 6, 5, 288, 24, 3, 2, "r", 24, 2, algorithm=algorithm, splits=1 if algorithm == CHOSEN else 4),
        Case(7, 12, 60, 3, 16, 7, 2, "2", algorithm=CHOSEN),
    ):
        check(case, machine)


@pytest.mark.parametrize("algorithm", [MMA["128x64"], WGMMA["64"]])
def test_a_slice_needs_the_workspace_of_its_images(
    algorithm: int, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if machine != "cpu" or "HGFAST_PTX_ARCH" in os.environ:
        pytest.skip("the limit of elements can be set for the emulator only")
    lib, sizes = _native.library(machine), ConvShape(30, 16, 16, 288, 64, 3, 1, dtype=torch.float16)
    whole = query(lib, sizes, 1, algorithm + 16 * 4)
    monkeypatch.setenv("HGFAST_EMULATOR_ELEMENTS", str(10 * 16 * 16 * 288 + 1))
    slices = query(lib, sizes, 1, algorithm + 16 * 4)
    one = query(lib, dataclasses.replace(sizes, n=10), 1, algorithm + 16 * 4)
    assert slices.workspace_bytes == one.workspace_bytes < whole.workspace_bytes
    monkeypatch.setenv("HGFAST_EMULATOR_ELEMENTS", str(16 * 16 * 288))
    with pytest.raises(ValueError, match="images below"):
        query(lib, sizes, 1)


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_choice_fits_hourglass(batch: int, machine: str) -> None:
    """Every layer gets a kernel; small levels are split, large ones are not; the workspace stays small."""
    lib: Any = _native.library(machine)
    for c, k, kernel, stride, size in [
        (3, 128, 7, 2, 256),
        (256, 256, 3, 1, 64),
        (384, 384, 3, 1, 4),
        (256, 17, 1, 1, 64),
    ]:
        needs = query(lib, ConvShape(batch, size, size, c, k, kernel, stride, dtype=torch.bfloat16), 0)
        assert needs.kernel != "none"
        assert needs.workspace_bytes < 64 << 20
        assert (needs.workspace_bytes > 0) == (needs.algorithm >= 32)


@pytest.mark.parametrize(
    ("family", "sizes", "with_it"),
    [
        ("wgmma", ConvShape(8, 64, 64, 256, 256, 3, 1, dtype=torch.float16), "wgmma"),
        ("small", ConvShape(2, 64, 64, 3, 64, 3, 2, dtype=torch.float16), "few channels"),
    ],
)
def test_families_that_are_turned_off_are_not_chosen(family: str, sizes: ConvShape, with_it: str, machine: str) -> None:
    lib = _native.library(machine)
    assert with_it in query(lib, sizes, 1).kernel
    lib.switch_family(family, False)
    try:
        needs = query(lib, sizes, 1)
        assert with_it not in needs.kernel and needs.kernel.startswith("mma")
    finally:
        lib.switch_family(family, True)


def test_k_is_not_split_where_that_is_turned_off(machine: str) -> None:
    lib, sizes = _native.library(machine), ConvShape(1, 4, 4, 512, 64, 3, 1, dtype=torch.float16)
    assert query(lib, sizes, 1).workspace_bytes > 0
    lib.switch_family("split", False)
    try:
        assert query(lib, sizes, 1).workspace_bytes == 0
    finally:
        lib.switch_family("split", True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": 12, "k": 8, "kernel": 7}, "take a kernel up to 5"),
        ({"n": 0}, "sizes must be positive"),
        ({"h": 1 << 14, "w": 1 << 14}, r"images below 2\^31 elements"),
        ({"h": 1 << 12, "w": 1 << 10}, r"results below 2\^22 pixels"),
    ],
)
def test_refused_shapes(change: dict[str, int], message: str, machine: str) -> None:
    lib: Any = _native.library(machine)
    sizes = ConvShape(
        **{"n": 1, "h": 4, "w": 4, "c": 8, "k": 8, "kernel": 3, "stride": 1, **change}, dtype=torch.float16
    )
    with pytest.raises(ValueError, match=message):
        query(lib, sizes, 0)


def test_refused_algorithms(machine: str) -> None:
    for algorithm, splits, dtype in (
        (1, 1, torch.float16),
        (4, 99, torch.float16),
        (6, 1, torch.float32),
        (2, 1, torch.float32),
        (15, 1, torch.float16),
    ):
        case = Case(1, 4, 4, 64, 64, dtype=dtype, algorithm=algorithm, splits=splits, exact=algorithm == 2)
        with pytest.raises(ValueError, match="does not take this shape"):
            run(case, draw(case), machine)


@pytest.mark.parametrize("algorithm", [CHOSEN, MMA["64x64"], WGMMA["128"]])
def test_unaligned_tensors(algorithm: int, machine: str) -> None:
    """Dense tensors that start at an odd element of their storage."""
    case = Case(2, 5, 6, 24, 40, 3, 1, "r2", 16, 1, algorithm=algorithm)
    arguments = draw(case)
    for name, value in arguments.items():
        if value is not None:
            arguments[name] = torch.cat([value.new_zeros(1), value.flatten()])[1:].view(value.shape)
    exact, same = expected(case, arguments, torch.float64), expected(case, arguments, case.dtype)
    for out, reference, rounded in zip(run(case, arguments, machine), exact, same, strict=True):
        assert_close("conv tf32", out.cpu(), reference, rounded)
