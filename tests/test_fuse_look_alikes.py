"""What looks like a block and computes something else stays what it is; proofs leave no trace."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import hgfast
from tests import look_alikes
from tests.look_alikes import CLASSES, FORWARDS, Block, look_alike
from tests.zoo.princeton import Residual


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda forward: forward.__name__)
def test_another_forward_is_left_alone(forward: Callable) -> None:
    block = look_alike(forward)
    look_alikes.SEEN.clear()  # of what other tests have run
    report = hgfast.fuse(nn.Sequential(block, Block())).fusion
    assert report.replaced == {"1": "basic block"} and report.left["0"].startswith("basic block: ")
    assert not look_alikes.SEEN and not block.kept and not block.count


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_with_more_than_a_forward_are_left_alone(kind: type[Block]) -> None:
    assert not hgfast.fuse(nn.Sequential(kind())).fusion.replaced


def changed(change: Callable[[Block], object]) -> Block:
    block = Block()
    change(block)
    return block


@pytest.mark.parametrize(
    "change",
    [
        lambda b: setattr(b, "forward", lambda x: x),
        lambda b: setattr(b.conv1, "forward", lambda x: x),
        lambda b: setattr(b.bn2, "forward", lambda x: x),
        lambda b: setattr(b.relu, "forward", lambda x: x),
        lambda b: b.relu.register_forward_hook(lambda *_: None),
        lambda b: b.bn1.register_full_backward_hook(lambda *_: None),
        lambda b: b.register_state_dict_post_hook(lambda *_: None),
        lambda b: parametrizations.weight_norm(b.conv1),
        lambda b: parametrizations.spectral_norm(b.conv1),
        lambda b: spectral_norm(b.conv1),
        lambda b: weight_norm(b.conv1),
        lambda b: setattr(b, "conv1", type("Conv", (nn.Conv2d,), {})(4, 4, 3, padding=1)),
        lambda b: setattr(b, "bn1", nn.InstanceNorm2d(4)),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_changed_instances_are_left_alone(change: Callable[[Block], object]) -> None:
    block = changed(change)
    assert hgfast.fuse(nn.Sequential(block))[0] is block


@pytest.mark.parametrize("change", [lambda s: setattr(s, "forward", lambda x: x), *()])
def test_sequence_with_a_forward_of_its_own_is_left_alone(change: Callable) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    change(layers)
    assert not hgfast.fuse(nn.Sequential(layers)).fusion.replaced


@pytest.mark.parametrize("part", [0, 1, 2])
def test_part_of_a_sequence_with_a_forward_of_its_own_is_called(part: int) -> None:
    layers = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()).eval()
    for when in ("before", "after"):
        fused = hgfast.fuse(copy.deepcopy(layers)) if when == "after" else copy.deepcopy(layers)
        fused[part].forward = lambda x: x + 5
        plain = copy.deepcopy(layers)
        plain[part].forward = lambda x: x + 5
        x = torch.randn(2, 4, 5, 6)
        torch.testing.assert_close(hgfast.fuse(fused)(x), plain(x))


VARIANTS: dict[str, Callable[[], Block]] = {
    "plain": Block,
    "strided": lambda: Block(4, 6, 2),
    "zero": lambda: look_alike(Block.forward),
    "half": lambda: Block().bfloat16(),
    "on meta": lambda: Block().to("meta"),
    "cumulative": lambda: changed(lambda b: setattr(b.bn1, "momentum", None)),
    "no statistics": lambda: changed(lambda b: setattr(b, "bn2", nn.BatchNorm2d(4, track_running_stats=False))),
    "not affine": lambda: changed(lambda b: setattr(b, "bn2", nn.BatchNorm2d(4, affine=False))),
    "frozen": lambda: changed(lambda b: b.bn1.eval().requires_grad_(False)),
    "synchronised": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(Block()),
    "shared parts": lambda: changed(lambda b: setattr(b, "conv2", b.conv1)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_a_block_is_fused(name: str) -> None:
    plain = VARIANTS[name]()
    fused = hgfast.fuse(nn.Sequential(copy.deepcopy(plain)))
    assert fused.fusion.replaced == {"0": "basic block"}, str(fused.fusion)
    if name in ("half", "on meta", "synchronised"):
        return
    for training in (True, False):
        states = []
        for module in (plain, fused[0]):
            x = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
            if not training:
                module.eval()
            y = module(x)
            y.square().sum().backward()
            states.append([y, x.grad, *module.state_dict().values()])
        torch.testing.assert_close(*states, rtol=1e-3, atol=1e-4)


class Conv(nn.Module):
    """princeton-vl's, in another order: pose-ae-train's."""

    def __init__(self, order: str = "conv relu bn") -> None:
        super().__init__()
        self.conv, self.relu, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4)
        self.steps = order.split()

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = getattr(self, step)(x)
        return x


@pytest.mark.parametrize("order", ["conv relu bn", "bn conv relu", "relu conv bn", "conv bn relu relu", "conv bn"])
def test_order_of_convolution_norm_and_activation(order: str) -> None:
    assert not hgfast.fuse(nn.Sequential(Conv(order))).fusion.replaced
    assert hgfast.fuse(nn.Sequential(Conv("conv bn relu"))).fusion.replaced


class OtherResidual(Residual):
    """Adds what its first ReLU gives, as a pre-activation block with an in-place ReLU does."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(x))
        return self.conv3(self.relu(self.bn3(self.conv2(self.relu(self.bn2(self.conv1(out))))))) + out


def test_bottleneck_with_another_sum_is_left_alone() -> None:
    report = hgfast.fuse(nn.ModuleList([OtherResidual(8, 8), Residual(8, 8), Residual(8, 12)])).fusion
    assert {"1", "2"} <= set(report.replaced) and "0" in report.left


class Raising(Block):
    """Whose shortcut cannot be asked for."""

    @property
    def downsample(self) -> nn.Module:
        raise KeyError("downsample")

    @downsample.setter
    def downsample(self, value: nn.Module) -> None:
        pass


def test_attributes_that_raise_do_not_escape() -> None:
    assert hgfast.fuse(nn.Sequential(Raising())).fusion.left["0"] == (
        "basic block: its attributes cannot be read: KeyError"
    )


def test_global_hooks_do_not_run_in_a_proof() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: pytest.fail("a hook ran"))
    try:
        assert hgfast.fuse(nn.Sequential(Block())).fusion.replaced
        assert len(nn.modules.module._global_forward_hooks) == 1
    finally:
        handle.remove()


class Wide(Block):
    """Decides by its number of channels."""

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.branch(x), x) if x.shape[1] < 12 else self.branch(x)


def test_what_depends_on_the_number_of_channels_is_tried_at_that_number() -> None:
    report = hgfast.fuse(nn.ModuleList([Wide(16, 16), Wide(10, 10), Block(16, 16)])).fusion
    assert set(report.replaced) == {"1", "2"} and "0" in report.left


def test_a_proof_leaves_no_trace() -> None:
    """Parameters, buffers, gradients, modes, and the generators of torch, Python and numpy stay."""
    model = nn.Sequential(Block(), look_alike(look_alikes.noise), Block(4, 6, 2))
    model(torch.randn(2, 4, 8, 8)).sum().backward()
    model[0].bn1.eval()
    for p in model.parameters():
        p.register_hook(lambda grad: pytest.fail("a hook ran"))
    before = copy.deepcopy([*model.state_dict().values(), *(p.grad for p in model.parameters())])
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    expected = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    hgfast.fuse(model)
    assert (torch.rand(1), random.random(), np.random.rand()) == expected
    torch.testing.assert_close([*model.state_dict().values(), *(p.grad for p in model.parameters())], before)
    assert model.training and not model[0].bn1.training and model[0].bn2.training


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fused_alike_where_no_gradient_is_recorded(mode: Callable) -> None:
    with mode():
        report = hgfast.fuse(nn.Sequential(Block(), look_alike(look_alikes.detached))).fusion
    assert report.replaced == {"0": "basic block"}


def test_one_proof_for_modules_of_one_structure() -> None:
    """A setting tells blocks of one class apart."""
    blocks = [look_alike(look_alikes.scaled_by_attribute) for _ in range(2)]
    blocks[1].scale = 2.0
    model = nn.Sequential(*(Block() for _ in range(30)), *blocks)
    report = hgfast.fuse(model).fusion
    assert len(report.replaced) == 30 and {"30", "31"} <= set(report.left)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_recompute_must_be_a_bool(value: object) -> None:
    with pytest.raises(TypeError, match="fuse: recompute must be True or False"):
        hgfast.fuse(Block(), recompute=value)
