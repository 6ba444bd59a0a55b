"""Plans on the emulated card: kernels that are wrong, or fail, are noticed before their use, told and replaced."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hgfast import _switches
from hgfast.frozen import choices, make, verify
from hgfast.frozen.choices import Needs
from hgfast.frozen.graph import BottleneckCall, Call, ConvCall
from hgfast.frozen.plan import Plan
from hgfast.frozen.steps import Step, StepMaker
from hgfast.frozen.torch_step import WITH_POINTWISE
from hgfast.ops._conv_native import ConvNeeds
from tests.frozen_on_card import (
    NETWORKS,
    SIZES,
    Spoil,
    calls,
    check_results,
    forget,
    frozen_network,
    plan_of,
    plant,
    second_item,
    trust,
)

pytestmark = pytest.mark.usefixtures("card")
DTYPES = [torch.bfloat16, torch.float16, torch.float32]


def prefer_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small as these networks are, three convolutions are expected to take no longer than a whole block."""
    listed = choices.bottleneck_candidates
    monkeypatch.setattr(choices, "bottleneck_candidates", lambda lib, sizes: (listed(lib, sizes)[0], math.inf))


def border(call: Call, y: Tensor, y2: Tensor | None) -> None:
    """The last line of each 8 is that before."""
    y[:, :, 7::8] = y[:, :, 6::8]


def lost_tail(call: Call, y: Tensor, y2: Tensor | None) -> None:
    y[-1, :, -1, -1] = 0


def lost_split(call: Call, y: Tensor, y2: Tensor | None) -> None:
    y.mul_(0.9)


def second_output(call: Call, y: Tensor, y2: Tensor | None) -> None:
    if y2 is not None:
        y2[:, 0] += 0.125


def not_a_number(call: Call, y: Tensor, y2: Tensor | None) -> None:
    y[1, 2, 0, 0] = float("nan")


def lost_addend(call: Call, y: Tensor, y2: Tensor | None) -> None:
    """One pixel of a sum, where the residual is forgotten."""
    if call.residual is not None:  # type: ignore[union-attr]
        y[0, :, 3, 5] = 0


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
    "pointwise": ("sums", "batch_norm_act", second_item),
    "sum": ("sums", "batch_norm_act", lost_addend),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", NETWORKS)
def test_right_kernels_pass(family: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture, card: Path) -> None:
    """All of them, in three precisions: none is taken for wrong."""
    for tf32 in (False, True) if dtype == torch.float32 else (False,):
        plan = check_results(family, dtype, tf32)
        assert not caplog.records and all(needs.algorithm >= 0 for needs in plan.needs.values())
        table = plan.choices.table
        assert table is not None and not table.failures()
        assert all(plan.choices.finding(plan.needs[c.output], plan.choices.names[c.output]).right for c in calls(plan))
    assert len(list(card.glob("*.json"))) == 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_kernel_is_noticed_told_and_replaced(
    mistake: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, card: Path
) -> None:
    family, kernel, spoil = MISTAKES[mistake]
    if "bottleneck" in kernel:
        prefer_blocks(monkeypatch)
    trust(monkeypatch, kernel)
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


def tf32(call: Call, y: Tensor, y2: Tensor | None) -> None:
    """As good as 11 bits of each operand let it be."""
    y.mul_(1 + 2.0**-12)


def test_tf32_is_not_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where float32 is asked for, what tf32 rounds away is noticed, and where tf32 is, it may be."""
    plant(monkeypatch, "mma", tf32)
    frozen = frozen_network("mmpose", torch.float32)
    assert {needs.kernel for needs in plan_of(frozen).needs.values()} == {WITH_POINTWISE.kernel}


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
    frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    assert made and plan.choices.table is not None
    assert plan.choices.table.failures() and all("K in" in name for name in plan.choices.table.failures())


def test_what_is_known_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    original = verify.Probe.fault

    def fault(self: verify.Probe, needs: Needs) -> str:
        tried.append(needs.kernel)
        return original(self, needs)

    monkeypatch.setattr(verify.Probe, "fault", fault)
    frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    assert len(tried) == len(set(plan.choices.names.values())) < len(plan.steps)
    tried.clear()
    plan_of(frozen_network("mmpose", torch.bfloat16))
    forget(monkeypatch)
    plan_of(frozen_network("mmpose", torch.bfloat16))
    assert not tried
    frozen.plan(1, 16, 16)
    assert tried


def test_calls_that_write_over_their_input_are_tried_so() -> None:
    frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    memory, names = plan.maker.memory, plan.choices.names
    in_place = {names[call.output] for call in calls(plan) if verify._is_in_place(memory, call)}
    chosen = verify.distinct_calls(plan)
    assert len(chosen) == len({names[call.output] for call in chosen}) == len(set(names.values()))
    assert in_place == {names[call.output] for call in chosen if verify._is_in_place(memory, call)} != set()


def test_nothing_is_tried_in_a_capture_but_what_is_known_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = frozen_network("mmpose", torch.bfloat16)
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
    frozen = frozen_network("princeton", torch.bfloat16)
    plan = plan_of(frozen)
    stem = next(call for call in calls(plan) if isinstance(call, ConvCall))
    assert plan.needs[stem.output] == WITH_POINTWISE
    frozen._weights._packed.pop((id(stem.weight), 1))  # as if the table had known it from the start
    monkeypatch.setattr(make, "is_capturing", lambda device: True)
    in_capture = frozen._new_plan(1, 64, 64)  # a size of which nothing is known
    assert isinstance(in_capture, Plan) and in_capture.needs[stem.output] == WITH_POINTWISE
    fresh = frozen_network("princeton", torch.bfloat16)._new_plan(1, 64, 64)
    assert isinstance(fresh, Plan) and fresh.needs[stem.output].kernel == "mma few channels"


def test_verification_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, card: Path) -> None:
    monkeypatch.setattr(_switches, "disabled", frozenset({"verify"}))
    plant(monkeypatch, "mma", lambda call, y, y2: pytest.fail("a kernel was run"))
    frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    assert plan.choices.table is None and not card.exists()


def test_the_callers_random_numbers_and_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = frozen_network("princeton", torch.float32)
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


def test_no_kernel_is_listed_twice_for_a_call() -> None:
    """The way from the best kernel to torch ends: each is another one."""
    plan = plan_of(frozen_network("mmpose", torch.bfloat16))
    for kernels in plan.choices.kernels.values():
        labels = [verify.label(needs) for needs in kernels]
        assert len(labels) == len(set(labels)) > 1 and kernels[-1] == WITH_POINTWISE


def test_blocks_are_tried_as_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    prefer_blocks(monkeypatch)
    frozen = frozen_network("princeton", torch.bfloat16)
    plan = plan_of(frozen)
    blocks = [call for call in calls(plan) if isinstance(call, BottleneckCall)]
    assert len(blocks) > 5
    assert plan.choices.table is not None
    for block in blocks:
        assert plan.choices.table.get(plan.needs[block.output].kernel, plan.choices.names[block.output]).right
