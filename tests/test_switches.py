"""Ways out: kernels that are turned off, and cards and drivers that cannot run what was compiled."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterator

import pytest
import torch

import hgfast
from hgfast import _native, _switches, ops
from hgfast.cli.info import describe
from hgfast.ops import _conv_native
from hgfast.ops._conv_native import ConvNeeds, ConvShape, NoKernel, query
from hgfast.ops._registry import OPS
from tests.small_models import FAMILIES, small_model
from tests.tolerances import relative_error


@pytest.fixture
def disable(monkeypatch: pytest.MonkeyPatch):
    """Disables names as HGFAST_DISABLE does at the import."""
    return lambda *names: monkeypatch.setattr(_switches, "disabled", frozenset(names))


def test_a_disabled_op_runs_by_torch(disable) -> None:
    skip, low = torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4)
    args = skip, low
    assert ops.explain("upsample_add", *args) == "kernel: cpu"
    by_kernel = ops.upsample_add(*args)
    disable("upsample_add")
    assert ops.explain("upsample_add", *args) == "reference: HGFAST_DISABLE names upsample_add"
    assert torch.equal(ops.upsample_add(*args), by_kernel)
    assert ops.explain("max_pool", skip) == "kernel: cpu"


def test_a_name_stands_for_all_operators_that_begin_with_it(disable) -> None:
    disable("batch_norm")
    named = {name for name in OPS if _switches.is_disabled(name)}
    assert named == {name for name in OPS if name.startswith("batch_norm_")} and len(named) > 3


def test_a_disabled_convolution_leaves_no_way_to_its_kernels(disable, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(1, 8, 8, 8, requires_grad=True), torch.randn(8, 8, 3, 3, requires_grad=True)
    expected = torch.autograd.grad(torch.conv2d(x, weight, None, 1, 1).square().sum(), (x, weight))
    disable("conv2d")
    monkeypatch.setattr(_native, "library", lambda device_type: pytest.fail("a kernel was asked for"))
    found = torch.autograd.grad(ops.conv2d(x, weight).square().sum(), (x, weight))
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) < 1e-5


def test_names_that_stand_for_nothing_are_told(disable) -> None:
    disable("wgmma", "graph", "batch_norm", "upsample_add")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _switches.warn_of_unknown(OPS)
    disable("wgma")
    with pytest.warns(UserWarning, match="HGFAST_DISABLE: there is no kernel 'wgma'; there are wgmma, bottleneck"):
        _switches.warn_of_unknown(OPS)


def test_families_are_told_to_the_library(disable) -> None:
    told: list[tuple[str, bool]] = []
    disable("split", "wgmma", "max_pool")
    _switches.tell(types.SimpleNamespace(switch_family=lambda *call: told.append(call)))  # type: ignore[arg-type]
    assert sorted(told) == [("split", False), ("wgmma", False)]


@pytest.mark.parametrize(
    ("archs", "runs", "not_there"),
    [
        ("80;90a", [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)], [(7, 0), (7, 5)]),
        ("90a", [(9, 0)], [(8, 0), (10, 0), (12, 0)]),
        ("86", [(8, 6), (8, 9), (9, 0)], [(8, 0)]),
        ("75;100f", [(7, 5), (8, 0), (10, 0)], [(7, 0)]),
    ],
)
def test_which_cards_run_what_was_compiled(archs: str, runs, not_there) -> None:
    assert all(_native.runs_on(archs, *capability) for capability in runs)
    assert not any(_native.runs_on(archs, *capability) for capability in not_there)


class Card:
    """What `torch.cuda` and hgfast._cuda say of the card in a machine."""

    def __init__(self, capability: tuple[int, int] = (9, 0), driver: str = "ok") -> None:
        self.capability = capability
        self.info = {"archs": "80;90a", "nvcc": "13.0.88", "driver": driver, "devices": 1}

    def put_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_native, "_cuda", types.SimpleNamespace(backend_info=lambda: self.info))
        monkeypatch.setitem(_native._libraries, "cuda", _native._cuda)
        for name, answer in (
            ("is_available", True),
            ("current_device", 0),
            ("get_device_capability", self.capability),
            ("get_device_name", "NVIDIA T4"),
        ):
            monkeypatch.setattr(torch.cuda, name, lambda *index, answer=answer: answer)


@pytest.fixture(autouse=True)
def no_memory_of_other_cards() -> Iterator[None]:
    _native._device_refusal.cache_clear()
    yield
    _native._device_refusal.cache_clear()


REFUSALS = [
    (Card((7, 5)), "NVIDIA T4 has compute capability 7.5; the kernels were compiled for 80;90a and newer"),
    (
        Card(driver="CUDA driver version is insufficient for CUDA runtime version"),
        "the driver does not fit CUDA 13.0.88, by which the kernels were compiled: CUDA driver version is insufficient",
    ),
]


def test_where_there_is_no_driver_it_is_not_its_version_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    old = "CUDA driver version is insufficient for CUDA runtime version"
    for loads, told, said in ((True, old, old), (False, old, "no NVIDIA driver found"), (False, "ok", "ok")):

        def load(name: str, loads: bool = loads) -> str:
            if not loads:
                raise OSError(f"{name}: cannot open shared object file")
            return name

        monkeypatch.setattr(_native.ctypes, "CDLL", load)
        assert _native.driver_state(told) == said


@pytest.mark.parametrize(("card", "reason"), REFUSALS)
def test_cards_and_drivers_that_do_not_fit_leave_the_ops_to_torch(card: Card, reason: str, monkeypatch) -> None:
    card.put_in(monkeypatch)
    assert _native.library("cuda") is None and _native.library("cpu") is not None
    assert _native.cuda_missing_reason().startswith(reason)
    found = OPS["upsample_add"].fallback_reason("cuda", (torch.rand(1, 1, 2, 2), torch.rand(1, 1, 1, 1)))
    assert found is not None and reason in found


def test_a_card_that_fits_has_kernels(monkeypatch) -> None:
    Card((8, 6)).put_in(monkeypatch)
    assert _native.library("cuda") is _native._cuda and _native.cuda_missing_reason() == ""


def test_what_a_kernel_noted_before_it_gave_up_is_told_at_the_end(capsys) -> None:
    note = "block 3, thread 256 waited too long for the mbarrier at shared address 64, parity 1"
    _native._tell_wait_fault(types.SimpleNamespace(wait_fault=lambda: note))  # type: ignore[arg-type]
    assert note in capsys.readouterr().err
    _native._tell_wait_fault(types.SimpleNamespace(wait_fault=lambda: ""))  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""


def test_frozen_networks_run_by_torch_where_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    for family in FAMILIES:
        model = small_model(family, "reference")
        images = torch.randn(2, 3, 64, 64)
        by_kernels = hgfast.freeze(model)(images)
        with monkeypatch.context() as patch:
            patch.setattr(_native, "library", lambda device_type: None)
            patch.setattr(_native, "cuda_missing_reason", lambda: "no card fits")
            frozen = hgfast.freeze(model)
            found = frozen(images)
        assert frozen.describe(2, 64, 64).endswith("by PyTorch for batch 2: no card fits")
        assert "run by PyTorch on cpu: no card fits" in caplog.text
        for ours, theirs in zip(found, by_kernels, strict=True):
            assert relative_error(ours, theirs) < 1e-4
            assert ours.is_contiguous(memory_format=torch.channels_last) and not ours.requires_grad


def test_a_layer_that_no_kernel_takes_leaves_the_network_to_torch(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    model, images = small_model("princeton"), torch.randn(1, 3, 64, 64)
    by_kernels = hgfast.freeze(model)(images)

    def no_stem(lib: object, sizes: ConvShape, threads: int, algorithm: int = 0) -> ConvNeeds:
        if sizes.kernel == 7:
            raise NoKernel("conv: no kernel of size 7")
        return query(lib, sizes, threads, algorithm)

    monkeypatch.setattr(_conv_native, "query", no_stem)
    found = hgfast.freeze(model)(images)
    assert "a frozen network runs by PyTorch: conv: no kernel of size 7" in caplog.text
    for ours, theirs in zip(found, by_kernels, strict=True):
        assert relative_error(ours, theirs) < 1e-4


@pytest.mark.parametrize("value", ["0", "1", "force", "", None])
def test_values_of_the_variable_for_tuning(value: str | None) -> None:
    assert _switches.read_tune(value) == (value or "1")


def test_another_value_for_tuning_is_told() -> None:
    with pytest.warns(UserWarning, match="HGFAST_TUNE must be one of 0, 1, force, got 'yes'"):
        assert _switches.read_tune("yes") == "1"


def test_info_says_what_is_turned_off_and_why_a_card_has_no_kernels(disable, monkeypatch: pytest.MonkeyPatch) -> None:
    disable("wgmma", "max_pool")
    REFUSALS[0][0].put_in(monkeypatch)
    info = hgfast.build_info()
    assert info["disabled"] == ["max_pool", "wgmma"] and info["cuda"]["unusable"].startswith("NVIDIA T4")
    lines = describe(info)
    assert "OFF    by HGFAST_DISABLE: max_pool, wgmma" in lines
    assert any("unusable: NVIDIA T4 has compute capability 7.5" in line for line in lines)
