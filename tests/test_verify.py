"""Plans on the emulated card: kernels that are wrong, or fail, are noticed before their use, told and replaced."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hgfast import _kernel_table, _switches, models
from hgfast.frozen import choices, make, verify
from hgfast.frozen.build import build_graph
from hgfast.frozen.choices import Choices, Needs
from hgfast.frozen.freeze import TOLERANCE
from hgfast.frozen.graph import BottleneckCall, Call, ConvCall, PoolCall
from hgfast.frozen.model import FrozenModel
from hgfast.frozen.plan import Plan
from hgfast.frozen.steps import Step, StepMaker, conv_sizes
from hgfast.frozen.torch_step import TORCH_ALONE, WITH_POINTWISE
from hgfast.ops._conv_native import ConvNeeds
from tests.emulator.build import NoToolkit
from tests.emulator.device import emulated_cuda, load
from tests.recipe import apply_recipe
from tests.tolerances import relative_error

NETWORKS: dict[str, Callable[[], Any]] = {
    "mmpose": lambda: models.HourglassPose(17, 1, 2, (8, 16, 24), (1, 2, 1), 16, (8, 8), "reference"),
    "princeton": lambda: models.StackedHourglass(1, 32, 17, 0, (16, 32), "reference"),
}
SIZES = {"mmpose": (3, 32, 32), "princeton": (2, 64, 64)}  # images, height, width
DTYPES = [torch.bfloat16, torch.float16, torch.float32]


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An emulated card of which nothing is known yet; the folder of its table."""
    try:
        load("fast")
    except NoToolkit as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget(monkeypatch)
    with emulated_cuda("fast", verify=True):
        yield tmp_path / "hgfast"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process knows no more than what the file says."""
    monkeypatch.setattr(_kernel_table, "_tables", {})


def frozen_network(family: str, dtype: torch.dtype, tf32: bool = False) -> tuple[Any, FrozenModel]:
    model = apply_recipe(NETWORKS[family](), 7).eval()
    return model, FrozenModel(build_graph(model), dtype, torch.device("cpu"), tf32=tf32)


def prefer_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small as these networks are, three convolutions are expected to take no longer than a whole block."""
    listed = choices.bottleneck_candidates
    monkeypatch.setattr(choices, "bottleneck_candidates", lambda lib, sizes: (listed(lib, sizes)[0], math.inf))


def check_results(family: str, dtype: torch.dtype, tf32: bool = False) -> Plan:
    """The network runs, with results that are right; its plan."""
    model, frozen = frozen_network(family, dtype, tf32)
    n, *size = SIZES[family]
    images = torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(0)).to(dtype)
    heatmaps = frozen(images)
    with torch.no_grad():
        exact = model.double()(images.double())
    for ours, reference in zip(heatmaps, exact, strict=True):
        for image in range(len(images)):
            assert relative_error(ours[image], reference[image]) <= max(TOLERANCE[dtype], 1e-2)
    return plan_of(frozen)


def plan_of(frozen: FrozenModel) -> Plan:
    """That of the network's size."""
    plan = frozen.plan(*SIZES["mmpose" if frozen.graph.unit == 16 else "princeton"])
    assert isinstance(plan, Plan)
    return plan


Spoil = Callable[[Call, Tensor, "Tensor | None"], None]


def plant(
    monkeypatch: pytest.MonkeyPatch, kernel: str, spoil: Spoil, when: Callable[[Call], bool] = lambda call: True
) -> list[str]:
    """A mistake in all kernels whose names begin so: `spoil(call, y, y2)` after each; the kernels that were made."""
    original, made = StepMaker.make, list[str]()

    def make_spoilt(self: StepMaker, call: Call, needs: Needs) -> Step:
        step = original(self, call, needs)
        if not needs.kernel.startswith(kernel) or not when(call):
            return step
        made.append(needs.kernel)
        function, positions = step.function, {value: i for i, value, _ in step.external}

        def spoilt(*arguments: Any) -> None:
            function(*arguments)
            outputs = [call.output, *([call.second.value] if call.second else [])]
            places = [_tensor(arguments[positions[v]]) if v in positions else self.memory.tensor(v) for v in outputs]
            spoil(call, places[0], places[1] if call.second else None)

        step.function = spoilt
        return step

    monkeypatch.setattr(StepMaker, "make", make_spoilt)
    return made


def _tensor(argument: Any) -> Tensor:
    return argument if isinstance(argument, Tensor) else argument.tensor


def border(call: Call, y: Tensor, y2: Tensor | None) -> None:
    """The last line of each 8 is that before."""
    y[:, :, 7::8] = y[:, :, 6::8]


def lost_tail(call: Call, y: Tensor, y2: Tensor | None) -> None:
    y[-1, :, -1, -1] = 0


def second_item(call: Call, y: Tensor, y2: Tensor | None) -> None:
    """One element of the last image, by an eighth of 1."""
    y[-1, -1, 0, 0] += 0.125


def lost_split(call: Call, y: Tensor, y2: Tensor | None) -> None:
    y.mul_(0.9)


def second_output(call: Call, y: Tensor, y2: Tensor | None) -> None:
    if y2 is not None:
        y2[:, 0] += 0.125


def not_a_number(call: Call, y: Tensor, y2: Tensor | None) -> None:
    y[1, 2, 0, 0] = float("nan")


# mistake: network, kernel, what is spoilt, in which calls
MISTAKES: dict[str, tuple[str, str, Spoil]] = {
    "tile border": ("mmpose", "mma 64x32", border),
    "lost tail row": ("mmpose", "mma", lost_tail),
    "second item": ("mmpose", "mma 64x32", second_item),
    "stem": ("princeton", "mma few channels", second_item),
    "second output": ("princeton", "mma 64x32", second_output),
    "not a number": ("princeton", "mma 64x32", not_a_number),
    "block, border": ("princeton", "wgmma bottleneck", border),
    "block, last image": ("princeton", "wgmma bottleneck", second_item),
    "pool": ("princeton", "max_pool", lost_tail),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", NETWORKS)
def test_right_kernels_pass(family: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture, card: Path) -> None:
    """All of them, in three arithmetics: none is taken for wrong."""
    for tf32 in (False, True) if dtype == torch.float32 else (False,):
        plan = check_results(family, dtype, tf32)
        assert not caplog.records and all(needs.algorithm >= 0 for needs in plan.needs.values())
        table = plan.choices.table
        assert table is not None and not table.failures()
        assert all(plan.choices.finding(plan.needs[c.output], plan.choices.names[c.output]).right for c in calls(plan))
    assert len(list(card.glob("*.json"))) == 1


def calls(plan: Plan) -> list[Call]:
    return plan.graph.calls


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_kernel_is_noticed_told_and_replaced(
    mistake: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, card: Path
) -> None:
    family, kernel, spoil = MISTAKES[mistake]
    if "bottleneck" in kernel:
        prefer_blocks(monkeypatch)
    made = plant(monkeypatch, kernel, spoil)
    plan = check_results(family, torch.bfloat16)
    assert made, "the mistake is in no kernel of this plan"
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert plan.choices.table is not None
    failures = plan.choices.table.failures()
    assert 0 < len(told) == len(failures) == len(set(told))
    assert all(name.startswith(kernel) and "differs from torch's" in why for name, why in failures.items())
    assert f"the kernel {next(iter(failures)).split(' | ')[0]!r} is not used for" in " ".join(told)
    for word in ('"card": "host emulator"', '"driver"', '"module"', '"torch"', "hgfast info --report", " must be "):
        assert all(word in message for message in told)
    forget(monkeypatch)
    caplog.clear()
    check_results(family, torch.bfloat16)
    assert not caplog.records  # the file remembers


def test_a_lost_split_of_k(monkeypatch: pytest.MonkeyPatch) -> None:
    original = StepMaker.make

    def make_spoilt(self: StepMaker, call: Call, needs: Needs) -> Step:
        step = original(self, call, needs)
        if isinstance(call, ConvCall) and needs.algorithm >= 32:
            function = step.function

            def spoilt(*arguments: Any) -> None:
                function(*arguments)
                lost_split(call, self.memory.tensor(call.output), None)

            step.function = spoilt
        return step

    monkeypatch.setattr(StepMaker, "make", make_spoilt)
    plan = check_results("mmpose", torch.float16)
    assert plan.choices.table is not None
    assert any("K in" in name for name in plan.choices.table.failures())
    assert all(needs.algorithm < 32 for needs in plan.needs.values())


def test_a_workspace_that_is_not_left_fit_for_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call with a workspace is right, each later one adds to what the first has left there."""
    used: list[Call] = []

    def spoil(call: Call, y: Tensor, y2: Tensor | None) -> None:
        if any(call is other for other in used):
            y.add_(1)
        used.append(call)

    made = plant(monkeypatch, "mma 64x32", spoil)
    _, frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    assert made and plan.choices.table is not None
    assert plan.choices.table.failures() and all("K in" in name for name in plan.choices.table.failures())


ERRORS = [
    RuntimeError("CUDA: the driver refuses a tensor map (1)"),
    RuntimeError("CUDA: launch of conv_mma_kernel: invalid argument"),
    ValueError("conv: algorithm 37 does not take this shape, dtype or device"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_a_kernel_that_fails_is_replaced(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(call: Call, y: Tensor, y2: Tensor | None) -> None:
        raise error

    plant(monkeypatch, "mma 64x32", fail)
    plan = check_results("mmpose", torch.bfloat16)
    assert f"{type(error).__name__}: {error}" in caplog.text
    assert not any(needs.kernel == "mma 64x32" for needs in plan.needs.values())


@pytest.mark.parametrize(("family", "dtype"), [("mmpose", torch.float16), ("princeton", torch.float32)])
@pytest.mark.parametrize("alone", [False, True])
def test_torch_has_what_no_kernel_gets_right(
    family: str, dtype: torch.dtype, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First with the pointwise kernels, and where these are wrong too, alone."""
    monkeypatch.setattr(choices, "shortlist", lambda candidates: candidates[:2])
    for kernel in ("mma", "wgmma", *(("torch conv2d", "max_pool") if alone else ())):
        plant(monkeypatch, kernel, second_item)
    plan = check_results(family, dtype)
    left = {"conv": WITH_POINTWISE, "pool": choices.POOL} if not alone else dict.fromkeys(("conv", "pool"), TORCH_ALONE)
    for call in calls(plan):
        assert plan.needs[call.output] == left["pool" if isinstance(call, PoolCall) else "conv"]


def test_what_is_known_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    original = verify.Probe.fault

    def fault(self: verify.Probe, needs: Needs) -> str:
        tried.append(needs.kernel)
        return original(self, needs)

    monkeypatch.setattr(verify.Probe, "fault", fault)
    _, frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    assert len(tried) == len(set(plan.choices.names.values())) < len(plan.steps)
    tried.clear()
    plan_of(frozen_network("mmpose", torch.bfloat16)[1])
    forget(monkeypatch)
    plan_of(frozen_network("mmpose", torch.bfloat16)[1])
    assert not tried
    frozen.plan(1, 16, 16)
    assert tried


def test_calls_that_write_over_their_input_are_tried_so() -> None:
    _, frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    memory, names = plan.maker.memory, plan.choices.names
    in_place = {names[call.output] for call in calls(plan) if verify._is_in_place(memory, call)}
    chosen = verify.distinct_calls(plan)
    assert len(chosen) == len({names[call.output] for call in chosen}) == len(set(names.values()))
    assert in_place == {names[call.output] for call in chosen if verify._is_in_place(memory, call)} != set()


def test_nothing_is_tried_in_a_capture_but_what_is_known_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    _, frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    assert plan.choices.table is not None
    call = next(call for call in calls(plan) if plan.needs[call.output].kernel == "mma 64x32")
    kernel, name = verify.label(plan.needs[call.output]), plan.choices.names[call.output]
    plan.choices.table.note(kernel, name, right=False, why="it was wrong")
    monkeypatch.setattr(make, "is_capturing", lambda device: True)
    monkeypatch.setattr(make, "verify", lambda plan: pytest.fail("a kernel was tried in a capture"))
    in_capture = frozen._new_plan(*SIZES["mmpose"])
    assert isinstance(in_capture, Plan) and verify.label(in_capture.needs[call.output]) != kernel
    used = {needs.packing for needs in in_capture.needs.values() if isinstance(needs, ConvNeeds)}
    assert used == {needs.packing for needs in plan.needs.values() if isinstance(needs, ConvNeeds)}


def test_kernels_whose_weights_are_packed_come_first_in_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be packed there: torch, whose weights are there, takes a stem that the best kernel was wrong for."""
    plant(monkeypatch, "mma few channels", second_item)
    _, frozen = frozen_network("princeton", torch.bfloat16)
    plan = plan_of(frozen)
    stem = next(call for call in calls(plan) if isinstance(call, ConvCall))
    assert plan.needs[stem.output] == WITH_POINTWISE
    frozen._weights._packed.pop((id(stem.weight), 1))  # as if the table had known it from the start
    monkeypatch.setattr(make, "is_capturing", lambda device: True)
    in_capture = frozen._new_plan(1, 64, 64)  # a size of which nothing is known
    assert isinstance(in_capture, Plan) and in_capture.needs[stem.output] == WITH_POINTWISE
    fresh = frozen_network("princeton", torch.bfloat16)[1]._new_plan(1, 64, 64)
    assert isinstance(fresh, Plan) and fresh.needs[stem.output].kernel == "mma few channels"


def test_verification_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, card: Path) -> None:
    monkeypatch.setattr(_switches, "disabled", frozenset({"verify"}))
    plant(monkeypatch, "mma", lambda call, y, y2: pytest.fail("a kernel was run"))
    _, frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    assert plan.choices.table is None and not card.exists()


def test_where_memory_is_short_kernels_are_used_untried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(self: verify.Probe, needs: Needs) -> str:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(verify.Probe, "fault", fault)
    check_results("mmpose", torch.bfloat16)
    assert len(caplog.records) == 1 and "for lack of memory: CUDA out of memory" in caplog.text


def test_the_callers_random_numbers_and_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    _, frozen = frozen_network("princeton", torch.float32)
    state, precision = torch.get_rng_state(), torch.backends.cuda.matmul.fp32_precision
    plan_of(frozen)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.cuda.matmul.fp32_precision == precision


def test_comparison_goes_over_all_images_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An element of the last image is seen where one image is a part."""
    monkeypatch.setattr(verify, "CHUNK", 1)
    plant(monkeypatch, "mma few channels", second_item, lambda call: isinstance(call, ConvCall))
    plan = check_results("princeton", torch.bfloat16)
    assert plan.choices.table is not None
    assert all("image 1, " in why for why in plan.choices.table.failures().values())
    assert not any(needs.kernel == "mma few channels" for needs in plan.needs.values())


def test_no_kernel_listed_twice_for_a_call() -> None:
    """The way from the best kernel to torch ends: each is another one."""
    _, frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    kernels = Choices(load("fast"), 1)
    for call in calls(plan):
        if isinstance(call, ConvCall):
            sizes = conv_sizes(call, plan.shapes, plan.batch, plan.dtype, exact=False)
            labels = [verify.label(needs) for needs in kernels._convs(sizes)]
            assert len(labels) == len(set(labels)) > 1 and labels[-1] == verify.label(WITH_POINTWISE)


def test_blocks_are_tried_as_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    prefer_blocks(monkeypatch)
    _, frozen = frozen_network("princeton", torch.bfloat16)
    plan = plan_of(frozen)
    blocks = [call for call in calls(plan) if isinstance(call, BottleneckCall)]
    assert len(blocks) > 5
    assert plan.choices.table is not None
    for block in blocks:
        assert plan.choices.table.get(plan.needs[block.output].kernel, plan.choices.names[block.output]).right
