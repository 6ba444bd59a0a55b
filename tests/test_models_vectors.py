"""Both model families against golden runs of MMPose and princeton-vl: outputs, losses, gradients, statistics, keys."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hgfast import _native, models
from tests.golden import MAKERS, Golden, assert_within, full_width_golden, load_golden
from tests.recipe import apply_recipe, recipe_state_dict


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The peers ran on one thread, and BatchNorm over a few values amplifies what another order of sums rounds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def golden(request: pytest.FixtureRequest) -> Golden:
    return load_golden(request.param)


@pytest.fixture(params=["reference", "fused"])
def implementation(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of float32 by float32 on a GPU too, not by TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@dataclass
class Step:
    """A training step of one model: what went in and what came out."""

    model: nn.Module
    images_grad: Tensor
    heatmaps: Tensor
    loss: float
    parts: Tensor


def train_step(golden: Golden, implementation: str, dtype: torch.dtype, device: str) -> Step:
    """The step, which all tests look at; on the emulator it is another one."""
    emulated = _native.on_cuda(torch.empty(0, device=device))
    return _train_step(golden.name, implementation, dtype, device, emulated)


@functools.cache
def _train_step(name: str, implementation: str, dtype: torch.dtype, device: str, _emulated: bool) -> Step:
    golden = load_golden(name)
    model = apply_recipe(MAKERS[golden.name](implementation), golden.seed).to(device, dtype).train()
    images = golden.images("train_x").to(device, dtype).requires_grad_()
    heatmaps = model(images)
    loss, parts = golden.loss(heatmaps)
    loss.backward()
    maps = torch.stack(heatmaps, 1).detach()
    return Step(model.cpu(), images.grad.cpu(), maps.cpu(), loss.item(), parts.detach().cpu())


def assert_as_close(actual: Tensor, stored: Tensor, exact: Tensor, what: str) -> None:
    """Float32 and float64 results against the stored float32 run, whose own error is the floor.

    It is large, some percent, where BatchNorm sees few samples; the float64 tests are the sharp ones.
    """
    floor = float((stored - exact).abs().max())
    assert floor < 0.1 * float(exact.abs().max()), f"{what}: the float64 result is {floor:.3g} away from the peer"
    assert_within(actual, exact, floor, what)


def test_recipe_gives_the_stored_weights(golden: Golden) -> None:
    state = recipe_state_dict(MAKERS[golden.name]("reference"), golden.seed)
    sums = {name: (v.double().sum(), v.double().abs().sum()) for name, v in state.items() if v.is_floating_point()}
    assert list(sums) == list(golden.arrays["wnames"])
    np.testing.assert_allclose(np.array(list(sums.values())), golden.arrays["wsum_f64"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prefix", ["eval0", "eval1"])
def test_eval_outputs(golden: Golden, implementation: str, device: str, prefix: str) -> None:
    model = apply_recipe(MAKERS[golden.name](implementation), golden.seed).to(device).eval()
    with torch.no_grad():
        heatmaps = model(golden.images(f"{prefix}_x").to(device))
    expected = golden.heatmaps(prefix)
    assert len(heatmaps) == expected.shape[1]
    for s, heatmap in enumerate(heatmaps):
        floor = float(golden.arrays[f"{prefix}_f64diff"][s])
        assert_within(heatmap.cpu(), expected[:, s], floor, f"{prefix} stack {s}")


def test_backbone_features(golden: Golden, implementation: str, device: str) -> None:
    stored = [key for key in golden.arrays if key.startswith("eval0_feat")]
    if golden.is_princeton:
        assert not stored
        return
    model = apply_recipe(MAKERS[golden.name](implementation), golden.seed).to(device).eval()
    with torch.no_grad():
        features = model.backbone(golden.images("eval0_x").to(device))
    for feature, key in zip(features, sorted(stored), strict=True):
        expected = torch.from_numpy(golden.arrays[key])
        torch.testing.assert_close(feature[:1].cpu(), expected, rtol=2e-5, atol=2e-5 * float(expected.abs().max()))


def test_training_outputs_and_loss(golden: Golden, implementation: str, device: str) -> None:
    step, exact = (train_step(golden, implementation, dtype, device) for dtype in (torch.float32, torch.float64))
    assert_as_close(step.heatmaps, golden.heatmaps("train"), exact.heatmaps, "heatmaps")
    mean, parts = ("train_loss_mean", "train_loss") if golden.is_princeton else ("train_loss", "train_loss_per_stack")
    rtol = 2e-3 if golden.is_princeton else 1e-5  # the peer's own float32 losses are up to 8e-4 and 2e-7 off
    for result in (step, exact):
        assert result.loss == pytest.approx(float(golden.arrays[mean][0]), rel=rtol)
        torch.testing.assert_close(result.parts.float(), torch.from_numpy(golden.arrays[parts]), rtol=rtol, atol=0)


def test_stored_gradients(golden: Golden, implementation: str, device: str) -> None:
    step, exact = (train_step(golden, implementation, dtype, device) for dtype in (torch.float32, torch.float64))
    floors = dict(zip(golden.arrays["train_param_names"], golden.arrays["train_grad_summary"][:, 3], strict=True))
    parameters = dict(step.model.named_parameters())
    stored = golden.tensors("train_grad")
    assert stored
    for name, expected in stored.items():
        assert_within(parameters[name].grad, expected, float(floors[name]), name)
    assert_as_close(step.images_grad, golden.images("train_xgrad"), exact.images_grad, "gradient to the images")


def test_gradients_in_float64(golden: Golden, implementation: str, device: str) -> None:
    """Sum, absolute sum and maximum of every gradient; without rounding noise, so to the precision of the file."""
    step = train_step(golden, implementation, torch.float64, device)
    names = list(golden.arrays["train_param_names"])
    assert [name for name, _ in step.model.named_parameters()] == names
    for (name, p), row in zip(step.model.named_parameters(), golden.arrays["train_grad_summary"], strict=True):
        if not row.any():
            assert not p.requires_grad and p.grad is None, f"{name} takes no part"
            continue
        actual = np.array([p.grad.sum(), p.grad.abs().sum(), p.grad.abs().max()])
        # a bias in front of a BatchNorm has gradient 0; what stands there is rounding, which differs with the threads
        np.testing.assert_allclose(actual, row[:3], rtol=2e-5, atol=max(2e-6 * row[1], 1e-12), err_msg=name)


def test_running_statistics(golden: Golden, implementation: str, device: str) -> None:
    step, exact = (train_step(golden, implementation, dtype, device) for dtype in (torch.float32, torch.float64))
    state, exact_state = step.model.state_dict(), exact.model.state_dict()
    stored = golden.tensors("train_after")
    assert set(stored) == {name for name in state if name.endswith(("running_mean", "running_var"))}
    for name, expected in stored.items():
        error, floor = ((x - exact_state[name]).abs().max() for x in (state[name], expected))
        allowed = 10 * floor + 1e-5 * exact_state[name].abs().max()
        assert error <= allowed, f"{name}: error {error:.3g}, the peer's {floor:.3g}"
    ran = {name.rpartition(".")[0] for name, p in step.model.named_parameters() if p.grad is not None}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == (name.rpartition(".")[0] in ran), name


@pytest.fixture(scope="module")
def full_width() -> tuple[dict[str, np.ndarray], Tensor, dict[str, Tensor]]:
    """hourglass52: the stored arrays, the images, and the state dict."""
    golden, images = full_width_golden()
    with torch.device("meta"):
        model = models.build("hourglass52")
    state = recipe_state_dict(model, int(golden["seed"][0]))
    sums = {name: (v.double().sum(), v.double().abs().sum()) for name, v in state.items() if v.is_floating_point()}
    assert list(sums) == list(golden["wnames"])
    np.testing.assert_allclose(np.array(list(sums.values())), golden["wsum_f64"], rtol=1e-9, atol=1e-9)
    return golden, images, state


def test_hourglass52_at_full_width(
    implementation: str, device: str, full_width: tuple[dict[str, np.ndarray], Tensor, dict[str, Tensor]]
) -> None:
    golden, images, state = full_width
    with torch.device("meta"):
        model = models.build("hourglass52", implementation=implementation)
    model.load_state_dict(state, assign=True)
    with torch.no_grad():
        (heatmaps,) = model.to(device).eval()(images.to(device))
    assert_within(heatmaps.cpu(), torch.from_numpy(golden["hm0_0"]), float(golden["hm0_0_f64diff"][0]), "heatmaps")
