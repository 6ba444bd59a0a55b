"""Operators called by themselves try and time their kernels at the first call of their sizes: on fake devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from math import hypot
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hgfast import _kernel_table, _switches, ops
from hgfast._times import DEVIATIONS
from hgfast.ops import _first_call
from hgfast.ops._ways import CONVOLUTIONS, KERNEL, TORCH
from tests.card_times import FakeClock, by_name, use
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
    assert [record.message.count("differs from torch's in float32") for record in caplog.records] == [1] * (
        4 if case == "block" else 1  # the block, and each of the three convolutions that take its place
    )
    known = _first_call._convs if case == "conv" else _first_call._blocks
    ((needs, way),) = known.values()
    if case == "block":
        assert needs is None and way == CONVOLUTIONS
    else:
        assert needs is not None and (needs.kernel, way) == ("fake", KERNEL)


def test_torch_has_what_no_kernel_gets_right(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, 1, 2)
    for _ in range(2):
        gpu.log.clear()
        assert_right("conv")
    assert not any(line.endswith(": conv") for line in gpu.log)


@both
@pytest.mark.parametrize("tune", ["0", "1"])
def test_nothing_is_tried_in_a_capture(case: str, tune: str, gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor timed, nor kept as known; but what the table says counts."""
    clock = use(monkeypatch)
    monkeypatch.setattr(_switches, "tune", tune)
    op, make = CASES[case]
    arguments = make()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        op(*arguments)
    assert not findings() and not clock.asked and not _first_call._convs and not _first_call._blocks
    spoil(monkeypatch, 2)
    op(*arguments)
    new_process(monkeypatch)
    graph, known = torch.cuda.CUDAGraph(), findings()
    with torch.cuda.graph(graph):
        found = op(*arguments)
    graph.replay()
    torch.testing.assert_close(found.cpu(), op(*on_the_cpu(arguments)), rtol=1e-4, atol=1e-4)
    assert findings() == known and any(finding.right is False for finding in known.values())


WAYS = {"_by_kernel": KERNEL, "_by_convolutions": CONVOLUTIONS, "_reference": TORCH}


@pytest.mark.parametrize("fastest", ["fake", "fake odd"])
def test_the_fastest_kernel_is_taken(fastest: str, gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, by_name({fastest: 10.0}, 100.0))
    assert_right("conv")
    ((needs, way),) = _first_call._convs.values()
    assert needs is not None and (needs.kernel, way) == (fastest, KERNEL)
    assert sum(finding.time is not None for finding in findings().values()) == 4  # two kernels, two ways


@pytest.mark.parametrize("faster_by", [0.9, 1.1])
@pytest.mark.parametrize(
    ("case", "function"),
    [("conv", "_by_kernel"), ("conv", "_reference"), *(("block", name) for name in WAYS)],
)
def test_the_fastest_way_is_gone(
    case: str, function: str, faster_by: float, gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was timed, where it is the faster one by more than the noise; else the kernel's way."""
    fast = 100 - faster_by * DEVIATIONS * hypot(2.0, 2.0)
    clock = use(monkeypatch, by_name({function: fast}, 100.0, error=2.0))
    expected = WAYS[function] if faster_by > 1 else KERNEL
    for _ in range(2):
        gpu.log.clear()
        assert_right(case)
        known: dict[Any, Any] = _first_call._convs if case == "conv" else _first_call._blocks
        assert [way for _, way in known.values()] == [expected]
        launched = [line.rpartition(": ")[2] for line in gpu.log]
    assert ("bottleneck" in launched) == (case == "block" and expected == KERNEL)
    assert ("batch_norm_apply" in launched) == (expected == CONVOLUTIONS)
    asked = list(clock.asked)
    new_process(monkeypatch)
    _kernel_table._tables.clear()  # the file remembers
    assert_right(case)
    assert clock.asked == asked


def test_ways_are_timed_again_where_that_is_forced(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = use(monkeypatch)
    assert_right("conv")
    asked = len(clock.asked)
    monkeypatch.setattr(_switches, "tune", "force")
    for _ in range(2):
        new_process(monkeypatch)
        assert_right("conv")
        assert len(clock.asked) == asked  # by this process
    _kernel_table._tables.clear()
    new_process(monkeypatch)
    assert_right("conv")
    assert len(clock.asked) == 2 * asked


@both
def test_without_memory_the_kernels_way_is_gone(
    case: str, gpu: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_memory(self: FakeClock, calls: list[Any]) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    clock = use(monkeypatch)
    monkeypatch.setattr(clock, "times", no_memory)
    with caplog.at_level(logging.WARNING, "hgfast"):
        assert_right(case)
    assert "an operator's way is chosen without times, for lack of memory: CUDA out of memory" in caplog.text
    known: dict[Any, Any] = _first_call._convs if case == "conv" else _first_call._blocks
    assert [way for _, way in known.values()] == [KERNEL]


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
