"""Programs run by recordings: the same numbers as stage by stage, one native call, and never where they may not be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hgfast import _native, reference
from hgfast.nn import _recording, _recordings
from hgfast.nn._program import Conv, Merge, Norm, Program, Relu, Sum
from hgfast.nn._recorder import KernelCall, Value
from hgfast.nn._tape import run
from hgfast.nn._written import written

PROGRAMS: dict[str, Program] = {
    "basic": written(reference.BasicBlock, 1, 1, 1).program,
    "basic, strided with shortcut": written(reference.BasicBlock, 1, 2, 2).program,
    "bottleneck": written(reference.Bottleneck, 2, 2).program,
    "bottleneck with skip": written(reference.Bottleneck, 2, 4).program,
    "sums and ReLUs": Program(
        2, (Conv(0, 0), Relu(2), Norm(3, 0, relu=False), Sum(4, 1), Relu(5), Conv(6, 1, addend=1), Sum(7, 7))
    ),
    "merge": Program(2, (Norm(0, 0), Merge(2, 1), Norm(3, 1, residual=0), Conv(4, 0))),
    "merge by 4": Program(2, (Conv(1, 0), Norm(2, 0), Merge(0, 3, 4), Relu(4), Norm(5, 1))),
    "convolution of oneDNN's": Program(1, (Norm(0, 0), Conv(1, 0), Norm(2, 1), Conv(3, 1))),
}
KERNELS = {"convolution of oneDNN's": (5, 3), "bottleneck": (1, 3, 1), "bottleneck with skip": (1, 3, 1, 1)}
CHANNELS, SIZE = 5, (9, 8)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_recording.Recording]]:
    """The recordings that are run."""
    ran: list[_recording.Recording] = []
    plain = _recording.Recording.run
    monkeypatch.setattr(_recording.Recording, "run", lambda self, given: (ran.append(self), plain(self, given))[1])
    monkeypatch.setattr(_recordings, "_kept", {})
    yield ran


class Case:
    """A program with tensors and norms of its own, the same for the same name."""

    def __init__(self, name: str, mode: str, dtype: torch.dtype = torch.float32) -> None:
        self.program = PROGRAMS[name]
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(dtype)

        stages = self.program.stages
        convs = 1 + max(stage.conv for stage in stages if isinstance(stage, Conv))
        kernels = KERNELS.get(name, (3,) * convs)
        low = (3, 2) if "4" in name else (5, 4)
        sizes = [SIZE, low if "merge" in name else SIZE][: self.program.inputs]
        self.inputs = [
            random(2, CHANNELS, *size).to(memory_format=torch.channels_last).requires_grad_() for size in sizes
        ]
        self.parameters = [
            value.requires_grad_()
            for r in kernels
            for value in (random(CHANNELS, CHANNELS, r, r) / r, random(CHANNELS))
        ]
        self.norms = [self._norm(mode, random).to(dtype) for stage in stages if isinstance(stage, Norm)]

    def _norm(self, mode: str, random: Any) -> nn.Module:
        norm = nn.BatchNorm2d(CHANNELS, affine=mode != "without affine", track_running_stats=mode != "not tracking")
        with torch.no_grad():
            for value in (norm.weight, norm.bias, norm.running_mean):
                if value is not None:
                    value.copy_(random(CHANNELS))
        return norm.train(mode != "evaluation")

    def run(self, recompute: bool = False) -> list[Tensor | None]:
        """Result, gradients, and what has become of the norms' statistics."""
        y = run(self.program, self.inputs, self.parameters, self.norms, recompute)
        leaves = [*self.inputs, *self.parameters, *(p for norm in self.norms for p in norm.parameters())]
        grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
        grads = torch.autograd.grad(y, leaves, grad)
        return [y.detach(), *grads, *(buffer.clone() for norm in self.norms for buffer in norm.buffers())]


def _assert_close(found: list[Any], exact: list[Any]) -> None:
    for a, b in zip(found, exact, strict=True):
        assert a.shape == b.shape
        scale = b.abs().max().clamp_min(1)
        torch.testing.assert_close(a.double() / scale, b.double() / scale, rtol=0, atol=3e-4)


@pytest.mark.parametrize("mode", ["training", "evaluation", "without affine", "not tracking"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_numbers(name: str, mode: str, calls: list[_recording.Recording]) -> None:
    found = Case(name, mode).run()
    assert len(calls) == 2  # forward, backward
    _assert_close(found, Case(name, mode, torch.float64).run())
    assert len(calls) == 2  # float64 goes stage by stage


@pytest.mark.parametrize("name", ["basic", "bottleneck with skip", "merge"])
def test_one_native_call_each_way(name: str, calls: list[_recording.Recording]) -> None:
    Case(name, "training").run()
    assert [len(recording.parts) for recording in calls] == [1, 1]


def test_chains_are_built_again_by_recordings(calls: list[_recording.Recording]) -> None:
    def chain() -> list[Tensor]:
        cases = [Case("basic", "training") for _ in range(3)]
        y, leaves = cases[0].inputs[0], []
        for case in cases:
            y = run(case.program, [y], case.parameters, case.norms, recompute=True)
            leaves += case.parameters
        return [y.detach(), *torch.autograd.grad(y.square().mean(), leaves)]

    found = chain()
    assert len(calls) == 8  # 3 each way, and 2 results built again
    with torch.autograd.profiler.profile():
        assert len(calls) == 8
        _assert_close(found, chain())
    assert len(calls) == 8


@pytest.mark.parametrize("needs", list(itertools.product((False, True), repeat=3)))
def test_only_the_gradients_that_are_wanted(needs: tuple[bool, ...], calls: list[_recording.Recording]) -> None:
    case, other = Case("basic, strided with shortcut", "training"), Case("basic, strided with shortcut", "training")
    exact = other.run()[1:]
    leaves = [case.inputs[0], case.parameters[0], case.parameters[5]]
    for leaf in (*case.inputs, *case.parameters, *(p for norm in case.norms for p in norm.parameters())):
        leaf.requires_grad_(False)
    for leaf, need in zip(leaves, needs, strict=True):
        leaf.requires_grad_(need)
    y = run(case.program, case.inputs, case.parameters, case.norms)
    assert y.requires_grad == any(needs)
    if any(needs):
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)))
    wanted = [exact[0], exact[1], exact[6]]
    for leaf, need, grad in zip(leaves, needs, wanted, strict=True):
        assert (leaf.grad is not None) == need
        if need:
            _assert_close([leaf.grad], [grad])


def _of_other_memory(case: Case) -> None:
    case.inputs[0] = case.inputs[0].detach().contiguous().requires_grad_()


def _averaging(case: Case) -> None:
    case.norms[0].momentum = None


def _negative_view(case: Case) -> None:
    bias = torch._neg_view(-case.parameters[1].detach())
    case.parameters[1] = bias.requires_grad_()


@pytest.mark.parametrize("change", [_of_other_memory, _averaging, _negative_view])
def test_forward_passes_that_are_not_recorded(change: Any, calls: list[_recording.Recording]) -> None:
    case, exact = Case("basic", "training"), Case("basic", "training", torch.float64)
    change(case)
    if change is _averaging:
        change(exact)
    found = case.run()
    assert len(calls) == (change is _averaging)  # whose way back does not depend on it
    _assert_close(found, exact.run())


def test_wrong_shapes_are_the_operators_to_refuse(calls: list[_recording.Recording]) -> None:
    case = Case("basic", "training")
    case.parameters[2] = torch.zeros(CHANNELS, CHANNELS + 1, 3, 3)
    before = [buffer.clone() for norm in case.norms for buffer in norm.buffers()]
    with pytest.raises(ValueError, match="weight"):
        run(case.program, case.inputs, case.parameters, case.norms)
    assert not calls
    after = [buffer for norm in case.norms[1:] for buffer in norm.buffers()]
    assert all(map(torch.equal, after, before[3:]))


def _empty_bias(case: Case) -> None:
    case.parameters[1] = torch.zeros(0)


def _empty_norm(case: Case) -> None:
    case.norms[1].weight = nn.Parameter(torch.zeros(0))


def _no_filters(case: Case) -> None:
    case.parameters[:2] = torch.zeros(0, CHANNELS, 3, 3), torch.zeros(0)


@pytest.mark.parametrize("change", [_empty_bias, _empty_norm, _no_filters])
def test_empty_parameters_are_not_taken_for_none(change: Any, calls: list[_recording.Recording]) -> None:
    case = Case("basic", "training")
    change(case)
    with pytest.raises(ValueError, match="bias|weight"):
        run(case.program, case.inputs, case.parameters, case.norms)
    assert not calls


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_parameters_that_shrink_before_the_way_back(name: str, mode: str, calls: list[_recording.Recording]) -> None:
    """autograd does not notice: no version is counted for `.data`."""
    case = Case("basic", mode)
    y = run(case.program, case.inputs, case.parameters, case.norms)
    getattr(case.norms[1], name).data = torch.ones(1)
    with pytest.raises(ValueError, match=name):
        y.sum().backward()
    assert len(calls) == 1


def test_recordings_are_bounded(calls: list[_recording.Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_recordings, "MOST", 2)
    for name in ("basic", "bottleneck", "merge"):
        Case(name, "training").run()
    assert len(calls) == 6 and len(_recordings._kept) == 2


def test_values_that_live_together_lie_apart() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(most: int) -> int:
        return int(torch.randint(most, (), generator=generator))

    for _ in range(100):
        values = [Value((1 + draw(400),)) for _ in range(20)]
        calls = [
            KernelCall("x", (), tuple(values[draw(i)] for _ in range(draw(3))), (values[i],))
            for i in range(1, len(values))
        ]
        offsets, size = _recording._plan(calls, {id(values[0])})
        uses: dict[int, list[int]] = {}
        for i, call in enumerate(calls):
            for value in (*call.reads, *call.writes):
                uses.setdefault(id(value), []).append(i)
        for a, b in itertools.combinations(values[1:], 2):
            (a_first, *_, a_last), (b_first, *_, b_last) = (2 * uses[id(value)] for value in (a, b))
            begin_a, begin_b = offsets[id(a)], offsets[id(b)]
            apart = begin_a + 4 * a.count <= begin_b or begin_b + 4 * b.count <= begin_a
            assert apart or a_last < b_first or b_last < a_first
        assert size <= sum(4 * value.count + 64 for value in values)


def test_a_sequence_checks_its_tensors() -> None:
    library: Any = _native.library("cpu")
    sequence = library.Sequence(2)
    with pytest.raises(ValueError, match="there are 2 tensors, got number 2"):
        sequence.pointwise(0, 4, (0, 0), (1, 0), (2, 0))
    with pytest.raises(ValueError, match="expected 2 addresses, got 1"):
        sequence.run([0], 1)
