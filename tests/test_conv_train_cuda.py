"""The forward convolution of training on the emulated card: by hgfast's kernel where the clock says so, or ATen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

import hgfast
from hgfast import _switches, ops
from hgfast._times import Time
from hgfast.frozen import make, tune
from hgfast.frozen.torch_step import WITH_POINTWISE
from hgfast.ops import _conv_train_cuda as train
from hgfast.ops._conv_train import forward
from tests.card_times import FakeClock, by_name, use
from tests.frozen_on_card import plant, second_item
from tests.small_models import small_model
from tests.tolerances import relative_error

pytestmark = pytest.mark.usefixtures("card")


ATEN = 100.0  # us of a call


def own_takes(microseconds: float) -> Callable[[str], Time]:
    """Each of hgfast's kernels; and their way, with packing, twice as long."""
    times = {"conv2d_add": ATEN, "convolve": 2 * microseconds, WITH_POINTWISE.kernel: ATEN}
    return by_name(times, microseconds, error=1.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeClock]]:
    found = use(monkeypatch)
    found.time = own_takes(40.0)
    for module in (tune, make):
        monkeypatch.setattr(module, "tunes", lambda device: _switches.tune != "0")
    monkeypatch.setattr(train, "_choices", {})
    yield found


def tensors(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (2, 8, 9, 7), (16, 8, 3, 3), (16,)
    x, weight, bias = (torch.randn(size, generator=generator).to(dtype) for size in sizes)
    return x, weight, bias


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_faster_kernel_is_taken(dtype: torch.dtype, clock: type[FakeClock]) -> None:
    x, weight, bias = tensors(dtype)
    allowed = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
    exact = torch.conv2d(x.double(), weight.double(), bias.double(), 2, 1)
    for tf32 in (False, True):
        with torch.backends.cudnn.flags(allow_tf32=tf32):
            assert ops.explain("conv2d", x, weight, bias, 2).startswith("kernel")
            y = ops.conv2d(x, weight, bias, 2)
            addend = torch.ones_like(y)
            assert relative_error(y, exact) < max(allowed, 2e-3 * tf32) and y.dtype == dtype
            assert relative_error(forward(x, weight, bias, 2, addend), exact + 1) < max(allowed, 2e-3 * tf32)
    assert len(train._choices) == (4 if dtype == torch.float32 else 2) and None not in train._choices.values()


@pytest.mark.parametrize(("way", "taken"), [(101.0, False), (98.0, False), (96.0, True)])
def test_the_whole_way_must_be_faster_by_more_than_the_noise(way: float, taken: bool, clock: type[FakeClock]) -> None:
    """With the weights packed, against ATen; the kernels alone are twice as fast."""
    clock.time = own_takes(way / 2)
    x, weight, bias = tensors()
    assert ops.explain("conv2d", x, weight, bias, 1) == ("kernel: cpu" if taken else f"reference: {train.WHY_NOT}")
    assert relative_error(ops.conv2d(x, weight, bias), torch.conv2d(x, weight, bias, 1, 1)) < 2e-3


def test_sizes_are_timed_once(clock: type[FakeClock]) -> None:
    x, weight, bias = tensors()
    ops.conv2d(x, weight, bias)
    asked = list(clock.asked)
    assert len(asked) > 4 and {"conv2d_add", "convolve"} <= set(asked)
    for _ in range(2):
        ops.conv2d(x, weight)
    assert clock.asked == asked
    ops.conv2d(x, weight, bias, 2)
    assert len(clock.asked) > len(asked)


def test_nothing_is_timed_in_a_capture_or_without_tuning(
    clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight, bias = tensors()
    with monkeypatch.context() as patch:
        patch.setattr(make, "is_capturing", lambda device: True)
        ops.conv2d(x, weight, bias)
        assert not clock.asked and not train._choices
    with monkeypatch.context() as patch:
        patch.setattr(_switches, "tune", "0")
        assert ops.explain("conv2d", x, weight, bias, 1).startswith("reference")
    assert not clock.asked
    assert ops.explain("conv2d", x, weight, bias, 1).startswith("kernel") and clock.asked


def test_a_wrong_kernel_is_not_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    x, weight, bias = tensors()
    plant(monkeypatch, "mma", second_item)
    plant(monkeypatch, "wgmma", second_item)
    assert ops.explain("conv2d", x, weight, bias, 1).startswith("reference") and "is not used for" in caplog.text


def test_what_kernels_do_not_take_is_atens(clock: type[FakeClock]) -> None:
    x, weight, bias = tensors(torch.float64)
    assert "no CUDA kernels for torch.float64" in ops.explain("conv2d", x, weight, bias, 1)
    x, weight = torch.randn(1, 16, 9, 9), torch.randn(8, 16, 7, 7)
    assert ops.explain("conv2d", x, weight, None, 1).startswith("reference")
    assert "HGFAST_DISABLE" not in ops.explain("conv2d", x, weight, None, 1)
    assert ops.explain("conv2d", x[:0], weight, None, 1) == "reference: empty"


def test_gradients_are_atens(clock: type[FakeClock]) -> None:
    """There are no kernels for them on CUDA, so nothing is timed either."""
    x, weight, _ = tensors()
    grad, why = torch.randn(2, 16, 9, 7), "reference: the gradients of convolutions have kernels on the CPU only"
    assert ops.explain("conv2d_input_grad", grad, weight, 9, 7, 1) == why
    assert ops.explain("conv2d_weight_grad", grad, x, 3, 1, False) == why
    assert not clock.asked


def test_gradients_of_a_fused_network(clock: type[FakeClock]) -> None:
    """A training step with all forward convolutions by hgfast's kernels."""
    model = small_model("mmpose", "reference").train()
    images = torch.randn(2, 3, 16, 16)
    losses, gradients = [], []
    for network in (model, hgfast.fuse(model)):
        network.zero_grad()
        loss = sum(heatmaps.square().mean() for heatmaps in network(images))
        loss.backward()
        losses.append(loss.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert clock.asked and any(train._choices.values())
    assert relative_error(losses[1], losses[0]) < 1e-4 and relative_error(gradients[1], gradients[0]) < 1e-2
