"""Networks frozen in int8: accuracy, what is coded, files, arguments."""

from __future__ import annotations

import copy
import logging
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast import FrozenModel, _native
from hgfast.frozen.calibrate import METHODS, Seen, codes_for, coding_error
from hgfast.frozen.codes import Codes, Quantisation
from hgfast.models import HourglassPose
from tests.small_models import ShallowHourglass
from tests.tolerances import relative_error


def calibration(count: int = 3, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def settled(model: nn.Module) -> nn.Module:
    """With running statistics of its own, as after training."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.0), nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(1)
    return settled(ShallowHourglass(2, 32, 16, stem_channels=(16, 32)))


@pytest.fixture(scope="module")
def frozen(model: nn.Module) -> FrozenModel:
    return hgfast.freeze(model, dtype=torch.int8, calibration=calibration())


def test_accuracy(model: nn.Module, frozen: FrozenModel) -> None:
    images = calibration(2)
    with torch.no_grad():
        for ours, theirs in zip(frozen(images), model(images), strict=True):
            assert ours.dtype == torch.float32
            assert 1e-4 < relative_error(ours, theirs) <= 3e-2


def test_most_convolutions_are_in_int8(frozen: FrozenModel) -> None:
    lines = frozen.describe(1, 64, 64).splitlines()
    convs = [line for line in lines if "1x1" in line or "3x3" in line or "7x7" in line]
    assert sum("int8" in line for line in convs) >= 0.6 * len(convs)
    assert any("7x7" in line and "int8" not in line for line in convs), "the image itself has no codes"
    assert any("to int8" in line for line in lines)


def test_same_numbers_for_any_batch_and_threads(frozen: FrozenModel) -> None:
    images, threads = calibration(3), torch.get_num_threads()
    expected = frozen(images)
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for i in range(3):
                for whole, one in zip(expected, frozen(images[i : i + 1]), strict=True):
                    assert relative_error(one, whole[i : i + 1]) <= 5e-3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files(frozen: FrozenModel, tmp_path: Path, suffix: str) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"network{suffix}"
    frozen.save(path)
    again, exact = FrozenModel.load(path, dtype=torch.int8), FrozenModel.load(path)
    assert again.graph.quantisation == frozen.graph.quantisation
    for a, b, c in zip(again(calibration()), frozen(calibration()), exact(calibration()), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_copies(frozen: FrozenModel) -> None:
    images = calibration(1)
    for other in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert all(torch.equal(a, b) for a, b in zip(other(images), frozen(images), strict=True))


def test_residual_blocks_and_strides() -> None:
    """MMPose's hourglass: shortcuts as further channels, strides, sums of two kinds, merges."""
    torch.manual_seed(2)
    small = settled(HourglassPose(17, 2, 2, (32, 32, 48), (1, 1, 1), 32, (16, 32)))
    images = calibration(2)
    frozen = hgfast.freeze(small, dtype=torch.int8, calibration=images)
    with torch.no_grad():
        for ours, theirs in zip(frozen(images), small(images), strict=True):
            assert relative_error(ours, theirs) <= 4e-2


@pytest.mark.parametrize("method", METHODS)
def test_methods(model: nn.Module, method: str) -> None:
    frozen = hgfast.freeze(model, dtype=torch.int8, calibration=calibration(2), calibration_method=method)
    with torch.no_grad():
        assert relative_error(frozen(calibration())[-1], model(calibration())[-1]) <= 1e-1


def wrong(**changes: Any) -> Any:
    return {"dtype": torch.int8, "calibration": calibration(), **changes}


NAN = calibration()
NAN[1, 2, 3, 4] = math.nan


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (wrong(calibration=None), ValueError, "needs calibration"),
        (wrong(dtype=torch.float32), ValueError, "calibration is for dtype=torch.int8, got dtype=torch.float32"),
        (wrong(dtype=None), ValueError, "calibration is for dtype=torch.int8"),
        (wrong(calibration=[calibration()]), TypeError, "calibration must be a torch.Tensor, got list"),
        (wrong(calibration=calibration()[0]), ValueError, "calibration must have 4 dimensions, got 3"),
        (wrong(calibration=calibration().to(torch.uint8)), TypeError, "calibration must have one of the dtypes"),
        (wrong(calibration=calibration()[:0]), ValueError, "calibration must be one or more images"),
        (wrong(calibration=calibration().to("meta")), ValueError, "on the CPU"),
        (wrong(calibration=NAN), ValueError, "calibration must be finite"),
        (wrong(calibration=calibration()[:, :2]), ValueError, "freeze: calibration: "),
        (wrong(calibration=calibration()[..., :-3]), ValueError, "freeze: calibration: "),
        (wrong(calibration_method="median"), ValueError, "calibration_method must be one of"),
        (wrong(calibration_method=3), (TypeError, ValueError), "calibration_method must be"),
        (wrong(example=(calibration(),)), ValueError, "images alone"),
        (wrong(dtype=torch.uint8), ValueError, "dtype must be one of"),
    ],
)
def test_arguments(model: nn.Module, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        hgfast.freeze(model, **options)


def test_int8_needs_a_quantised_network(model: nn.Module, tmp_path: Path) -> None:
    exact = hgfast.freeze(model)
    exact.save(tmp_path / "exact.pt")
    with pytest.raises(ValueError, match="freeze the model with dtype=torch.int8 and calibration=images"):
        FrozenModel.load(tmp_path / "exact.pt", dtype=torch.int8)


def test_zeros_and_constants(model: nn.Module) -> None:
    """Activations that are 0 everywhere, and ones that never change."""
    still = copy.deepcopy(model)
    norms = [module for module in still.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        nn.init.zeros_(norms[3].weight), norms[3].bias.fill_(-1)
        nn.init.zeros_(norms[5].weight), norms[5].bias.fill_(3)
        for images in (torch.zeros(1, 3, 64, 64), calibration(1)):
            frozen = hgfast.freeze(still, dtype=torch.int8, calibration=images)
            assert relative_error(frozen(images)[-1], still(images)[-1]) <= 0.15


BAD: list[tuple[str, Callable[[Quantisation], Any]]] = [
    ("scale must be from", lambda q: q.codes.update({next(iter(q.codes)): Codes(0.0, 0)})),
    ("scale must be from", lambda q: q.codes.update({next(iter(q.codes)): Codes(math.nan, 0)})),
    ("scale must be from", lambda q: q.codes.update({next(iter(q.codes)): Codes(math.inf, 0)})),
    ("zero must be", lambda q: q.codes.update({next(iter(q.codes)): Codes(1.0, 256)})),
    ("zero must be", lambda q: q.codes.update({next(iter(q.codes)): Codes(1.0, -1)})),
    ("zero must be", lambda q: q.codes.update({next(iter(q.codes)): Codes(1.0, 1.5)})),  # type: ignore[arg-type]
    ("kernels read or make", lambda q: q.codes.update({10**6: Codes()})),
    ("must be a value that has codes", lambda q: q.trunk.add(10**6)),
    ("must be a value that has codes", lambda q: q.convs.add(10**6)),
    ("must be made by a convolution", lambda q: q.convs.add(next(v for v in q.codes if v not in q.convs))),
    ("must be a value that has codes", lambda q: q.codes.pop(max(q.convs))),
]


@pytest.mark.parametrize(("message", "spoil"), BAD)
def test_broken_quantisations(
    frozen: FrozenModel, tmp_path: Path, message: str, spoil: Callable[[Quantisation], Any]
) -> None:
    assert frozen.graph.quantisation is not None
    quantisation = copy.deepcopy(frozen.graph.quantisation)
    spoil(quantisation)
    graph = replace(frozen.graph, quantisation=quantisation)
    with pytest.raises((TypeError, ValueError), match=message):
        FrozenModel(graph, torch.int8)
    with pytest.raises((TypeError, ValueError), match=message):
        FrozenModel(graph, torch.float32)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("codes", 3),
        ("codes", [[1, 1.0]]),
        ("codes", [["a", 1.0, 0]]),
        ("codes", [[1, "b", 0]]),
        ("codes", [[1, 1.0, 0], [1, 1.0, 0]]),
        ("convs", [1.5]),
        ("convs", {"a": 1}),
        ("trunk", [-1]),
        ("trunk", None),
    ],
)
def test_broken_files(frozen: FrozenModel, tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "network.pt"
    frozen.save(path)
    content = torch.load(path, weights_only=True)
    content["quantisation"][name] = value
    torch.save(content, path)
    with pytest.raises(ValueError, match="is damaged: .*quantisation"):
        FrozenModel.load(path, dtype=torch.int8)


def seen(values: Tensor) -> Seen:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return Seen(low, high, torch.histc(values, 2048, low, high).double())


@pytest.mark.parametrize("method", METHODS)
def test_codes_cover_what_counts(method: str) -> None:
    """Of a normal distribution, and of one behind a ReLU with a few values far away."""
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(100_000, generator=generator)
    codes = codes_for(seen(both), method)
    assert 2.5 < codes.scale * codes.zero <= -float(both.min()) + 0.1 and 110 <= codes.zero <= 145
    positive = torch.cat([both.relu(), torch.tensor([40.0])])
    codes = codes_for(seen(positive), method)
    largest = codes.scale * 255
    bounds = {"max": (39.99, 40.01), "mse": (30, 39.9), "percentile": (3, 6), "entropy": (1.5, 30)}[method]
    assert codes.zero == 0 and bounds[0] < largest < bounds[1]


def test_expected_error_is_the_error() -> None:
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    for codes in (Codes(0.02, 128), Codes(0.01, 100)):
        rounded = codes.scale * ((values / codes.scale + codes.zero).round().clamp(0, 255) - codes.zero)
        error = float((rounded - values).square().mean())
        assert coding_error(seen(values), codes) == pytest.approx(error, rel=0.05)


def test_nothing_seen() -> None:
    for method in METHODS:
        assert codes_for(Seen(), method) == Codes()
        assert codes_for(seen(torch.full((100,), 7.0)), method).scale == pytest.approx(7 / 255, rel=0.05)
        assert codes_for(seen(torch.full((100,), -7.0)), method).zero == 255


@pytest.mark.parametrize(("isa", "told"), [("amx_bf16", True), ("avx512_bf16", False)])
def test_says_where_bfloat16_is_the_faster_one(
    isa: str, told: bool, frozen: FrozenModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = _native.library("cpu")
    info = library.backend_info()
    monkeypatch.setattr(library, "backend_info", lambda: info | {"isa": isa})
    with caplog.at_level(logging.WARNING, "hgfast"):
        copy.deepcopy(frozen)
    assert ("faster in bfloat16, by AMX, than in int8" in caplog.text) == told
