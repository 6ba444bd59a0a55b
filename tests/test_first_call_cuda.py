"""Operators called by themselves try and time their kernels at the first call of their sizes: on fake devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hgfast import _kernel_table, _switches, ops
from hgfast.frozen import tune
from hgfast.ops import _first_call
from tests.fake_cuda import kernels, library
from tests.fake_cuda.machine import Machine

pytestmark = pytest.mark.verify


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    new_process(monkeypatch)
    yield


def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has the card's table, and nothing else."""
    monkeypatch.setattr(_first_call, "_convs", {})
    monkeypatch.setattr(_first_call, "_blocks", {})


def randoms(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def conv_arguments(batch: int = 1, where: str = "cuda:0") -> list[Any]:
    """A strided convolution with residual and ReLU, merged into a map of another size."""
    x, weight, bias, residual, large = randoms((batch, 5, 9, 8), (6, 5, 3, 3), (6,), (batch, 6, 5, 4), (batch, 6, 9, 7))
    moved = [tensor.to(where) for tensor in (x, weight, bias, residual, large)]
    return [*moved[:3], 2, moved[3], True, moved[4]]


def block_arguments(where: str = "cuda:0") -> list[Any]:
    """Of one image, for which three convolutions are expected to be faster."""
    c, m = 8, 4
    shapes = (1, c, 5, 4), (c,), (c,), (m, c, 1, 1), (m,), (m, m, 3, 3), (m,), (c, m, 1, 1), (c,), (1, c, 9, 8)
    return [tensor.to(where) for tensor in randoms(*shapes)]


Case = tuple[Callable[..., Tensor], Callable[..., list[Any]]]
CASES: dict[str, Case] = {"conv": (ops.conv_bias_act, conv_arguments), "block": (ops.bottleneck, block_arguments)}
both = pytest.mark.parametrize("case", CASES)


def on_the_cpu(arguments: list[Any]) -> list[Any]:
    return [value.cpu() if isinstance(value, Tensor) else value for value in arguments]


def assert_right(case: str, where: str = "cuda:0", **options: Any) -> None:
    op, make = CASES[case]
    arguments = make(where=where, **options)
    found, expected = op(*arguments), op(*on_the_cpu(arguments))
    assert found.device == torch.device(where)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


def findings() -> dict[str, Any]:
    return dict(next(iter(_kernel_table._tables.values()))._findings)


def wrong_block(*arguments: Any) -> None:
    kernels.bottleneck(*arguments)
    n, h, w, c, m, out_h, out_w, dtype = arguments[:8]
    y = kernels.nhwc(arguments[19], kernels.DTYPES[dtype], n, c, out_h, out_w)
    assert y is not None
    y[-1, -1, 0, 0] += 1


def spoil(monkeypatch: pytest.MonkeyPatch, *algorithms: int) -> None:
    """These convolutions and the block write one number that is wrong."""
    monkeypatch.setattr(kernels, "NAMES", kernels.NAMES | dict.fromkeys(algorithms, "fake wrong"))
    monkeypatch.setitem(library.OWN, "bottleneck", wrong_block)


@both
def test_sizes_are_tried_once(case: str, gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for first, where in ((True, "cuda:0"), (False, "cuda:0"), (False, "cuda:1")):  # cards of the same name
        gpu.log.clear()
        with torch.cuda.device(where):
            assert_right(case, where)
        assert any("sum" in line for line in gpu.log) == first
    new_process(monkeypatch)
    _kernel_table._tables.clear()  # the file remembers
    gpu.log.clear()
    assert_right(case)
    assert not any("sum" in line for line in gpu.log)
    assert findings() and all(finding.right for finding in findings().values())


@both
def test_a_wrong_kernel_is_not_used(
    case: str, gpu: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 2)  # the first choice of odd batches
    with caplog.at_level(logging.WARNING, "hgfast"):
        for _ in range(2):
            assert_right(case)
    assert [record.message.count("differs from torch's in float32") for record in caplog.records] == [1]
    known = _first_call._convs if case == "conv" else _first_call._blocks
    (needs,) = known.values()
    assert needs is None if case == "block" else needs is not None and needs.kernel == "fake"


def test_torch_has_what_no_kernel_gets_right(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, 1, 2)
    for _ in range(2):
        gpu.log.clear()
        assert_right("conv")
    assert not any(line.endswith(": conv") for line in gpu.log)


@both
def test_nothing_is_tried_in_a_capture(case: str, gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor kept as known; but what the table says counts."""
    op, make = CASES[case]
    arguments = make()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        op(*arguments)
    assert not findings() and not _first_call._convs and not _first_call._blocks
    spoil(monkeypatch, 2)
    op(*arguments)
    new_process(monkeypatch)
    graph, known = torch.cuda.CUDAGraph(), findings()
    with torch.cuda.graph(graph):
        found = op(*arguments)
    graph.replay()
    torch.testing.assert_close(found.cpu(), op(*on_the_cpu(arguments)), rtol=1e-4, atol=1e-4)
    assert findings() == known and any(finding.right is False for finding in known.values())


class Clock:
    """One kernel is the fastest."""

    fastest = ""

    def __init__(self, device: torch.device) -> None:
        pass

    def microseconds(self, call: Callable[[], None]) -> float:
        (step,) = [cell.cell_contents for cell in call.__closure__ or () if hasattr(cell.cell_contents, "kernel")]
        return 10.0 if step.kernel == Clock.fastest else 100.0


@pytest.mark.parametrize("fastest", ["fake", "fake odd", "torch conv2d, pointwise kernels"])
def test_the_fastest_kernel_is_taken(fastest: str, gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_switches, "tune", "1")
    monkeypatch.setattr(tune, "Clock", Clock)
    monkeypatch.setattr(Clock, "fastest", fastest)
    assert_right("conv")
    (needs,) = _first_call._convs.values()
    assert fastest.startswith("torch") if needs is None else needs.kernel == fastest
    assert_right("block")
    (block,) = _first_call._blocks.values()
    assert block is not None and block.kernel == "fake block"
    assert sum(finding.microseconds is not None for finding in findings().values()) == 4


@both
def test_it_can_be_turned_off(case: str, gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_switches, "disabled", frozenset({_switches.VERIFY}))
    assert_right(case)
    assert not _kernel_table._tables and not _first_call._convs and not _first_call._blocks


def test_other_sizes_and_calls_are_tried_by_themselves(gpu: Machine) -> None:
    for batch in (1, 2):
        assert_right("conv", batch=batch)
    x, weight, bias = conv_arguments()[:3]
    for relu in (False, True):
        ops.conv_bias_act(x, weight, bias, 2, None, relu)
    assert len(_first_call._convs) == 4
