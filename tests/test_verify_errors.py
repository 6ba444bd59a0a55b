"""Kernels of frozen networks on the emulated card that fail, when tried or later, and what comes in their place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hgfast import _switches
from hgfast.frozen import choices, verify
from hgfast.frozen.choices import Needs
from hgfast.frozen.graph import Call, ConvCall, PointwiseCall, PoolCall
from hgfast.frozen.torch_step import TORCH_ALONE, WITH_POINTWISE
from tests.frozen_on_card import (
    SIZES,
    calls,
    check_results,
    forget,
    frozen_network,
    plan_of,
    plant,
    second_item,
)
from tests.tolerances import relative_error

pytestmark = pytest.mark.usefixtures("card")


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


@pytest.mark.parametrize(
    ("family", "dtype"), [("mmpose", torch.float16), ("princeton", torch.float32), ("sums", torch.bfloat16)]
)
@pytest.mark.parametrize("alone", [False, True])
def test_torch_has_what_no_kernel_gets_right(
    family: str, dtype: torch.dtype, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First with the pointwise kernels, and where these are wrong too, alone."""
    monkeypatch.setattr(choices, "shortlist", lambda candidates: candidates[:2])
    for kernel in ("mma", "wgmma", *(("torch conv2d", "max_pool", "batch_norm_act") if alone else ())):
        plant(monkeypatch, kernel, second_item)
    plan = check_results(family, dtype)
    left = {ConvCall: WITH_POINTWISE, PoolCall: choices.POOL, PointwiseCall: choices.POINTWISE}
    for call in calls(plan):
        assert plan.needs[call.output] == (TORCH_ALONE if alone else left[type(call)])


def test_lack_of_memory_is_no_kernels_fault(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def load(call: Call, y: Tensor, y2: Tensor | None) -> None:
        raise RuntimeError("CUDA: launch of conv_mma_kernel: out of memory")

    with monkeypatch.context() as patch:
        plant(patch, "mma", load)
        plan = plan_of(frozen_network("mmpose", torch.bfloat16))
    assert "that were not tried: CUDA: launch of conv_mma_kernel: out of memory" in caplog.text
    assert plan.choices.table is not None and not plan.choices.table.failures()


def test_errors_of_the_comparison_are_no_kernels_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_reference(*arguments: Any) -> None:
        raise RuntimeError("this torch has no convolution without cuDNN")

    monkeypatch.setattr(verify, "expected", no_reference)
    plan = check_results("mmpose", torch.bfloat16)
    assert "kernels are used that were not tried: this torch has no convolution" in caplog.text
    assert plan.choices.table is not None and not plan.choices.table._findings


def test_where_memory_is_short_kernels_are_used_untried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(self: verify.Probe, needs: Needs) -> str:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(verify.Probe, "fault", fault)
    check_results("mmpose", torch.bfloat16)
    assert len(caplog.records) == 1 and "that were not tried: CUDA out of memory" in caplog.text


def test_modes_of_the_caller_change_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Plans made under autocast or in inference mode compare in float32, and run in other modes afterwards."""
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        plan = check_results("mmpose", torch.float16)
        assert not caplog.records and plan.choices.table is not None and not plan.choices.table.failures()
    forget(monkeypatch)
    monkeypatch.setattr(choices, "shortlist", lambda candidates: [])
    plant(monkeypatch, "torch conv2d", second_item)
    frozen = frozen_network("mmpose", torch.float16)
    images = torch.randn(SIZES["mmpose"][0], 3, *SIZES["mmpose"][1:])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        first = frozen(images)
    assert torch.equal(first[0], frozen(images)[0]) and first[0].dtype == torch.float16
    assert {needs.kernel for needs in plan_of(frozen).needs.values()} == {"torch"}


@pytest.mark.parametrize("known", [True, False])
def test_a_kernel_that_fails_later_is_replaced_too(
    known: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it was right once, or nothing is tried; the file does not hear of it, as it may be another's error."""
    if not known:
        monkeypatch.setattr(_switches, "disabled", frozenset({"verify"}))
    frozen = frozen_network("mmpose", torch.bfloat16)
    images = torch.randn(SIZES["mmpose"][0], 3, *SIZES["mmpose"][1:])
    expected, plan = frozen(images), plan_of(frozen)
    indices = [i for i, step in enumerate(plan.steps) if step.kernel == "mma 64x32"][:2]
    for index in indices:
        monkeypatch.setattr(plan.steps[index], "function", fail_to_launch)
    for ours, before in zip(frozen(images), expected, strict=True):
        assert relative_error(ours, before) < 1e-2
    assert len(caplog.records) == len({plan.choices.names[plan.steps[i].call.output] for i in indices})
    assert all("too many resources requested" in record.getMessage() for record in caplog.records)
    assert all(plan.steps[index].kernel != "mma 64x32" for index in indices)
    assert plan.choices.table is None or not plan.choices.table.failures()


def fail_to_launch(*arguments: Any) -> None:
    raise RuntimeError("CUDA: launch of conv_mma_kernel: too many resources requested for launch")


def test_errors_that_are_no_kernels_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(frozen_network("mmpose", torch.bfloat16))
    images = torch.randn(SIZES["mmpose"][0], 3, *SIZES["mmpose"][1:]).to(torch.bfloat16)

    def no_memory(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(plan.steps[3], "function", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        plan.run(images)
    monkeypatch.setattr(plan.steps[3], "function", fail_to_launch)
    plan.needs[plan.steps[3].call.output] = TORCH_ALONE
    with pytest.raises(RuntimeError, match="too many resources"):
        plan.run(images)
