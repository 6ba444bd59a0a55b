"""What looks like a block and computes something else goes on doing that; proofs leave no trace."""

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
from hgfast.fusion import programs, proof
from hgfast.nn._program import Norm, Program
from tests import look_alikes
from tests.look_alikes import CLASSES, FORWARDS, Block, look_alike
from tests.same_behaviour import assert_same, images, pair_of
from tests.zoo.princeton import Residual


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda forward: forward.__name__)
def test_another_forward_computes_what_it_computed(forward: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it leaves behind, and with settings that change after the fusion."""
    plain, fused = pair_of(look_alike(forward))
    random.seed(1), np.random.seed(1)
    look_alikes.SEEN.clear()  # of what other tests have run
    calls = Block.calls
    hgfast.fuse(fused)
    left = len(look_alikes.SEEN), fused.count, len(fused.kept), Block.calls - calls
    assert left == (0, 0, 0, 0), "fusing runs nothing for good"
    x = images(2, 4, 6, 6)
    assert_same(fused, plain, x)
    assert (fused.count, len(fused.kept)) == (plain.count, len(plain.kept))
    assert len(look_alikes.SEEN) in (0, 8) and Block.calls - calls in (0, 8)
    for module in (plain, fused):
        module.scale = 0.5
    monkeypatch.setattr(look_alikes, "SCALE", 0.25)
    monkeypatch.setattr(look_alikes, "SWITCH", True)
    assert_same(fused, plain, x)


@pytest.mark.parametrize("size", [(17, 4, 4, 4), (2, 4, 3, 1000), (1, 4, 1, 1), (2, 3, 4, 4)])
@pytest.mark.parametrize("forward", [look_alikes.other_for_batch, look_alikes.other_for_large, look_alikes.asserts])
def test_decisions_by_size(forward: Callable, size: tuple[int, ...]) -> None:
    plain, fused = pair_of(look_alike(forward))
    assert_same(hgfast.fuse(fused), plain, images(*size))


def test_what_runs_in_kernels_all_the_same() -> None:
    """A forward that only scales or drops something does not keep the rest of a block out of the kernels."""
    for forward in (look_alikes.scaled, look_alikes.gated, look_alikes.constant, look_alikes.relu_before_bn):
        block = look_alike(forward)
        assert not hgfast.fuse(block).fusion.left and "2 convolutions" in block.fusion.replaced[""]


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_with_more_than_a_forward_keep_it(kind: type[Block]) -> None:
    plain, fused = pair_of(kind())
    assert isinstance(hgfast.fuse(fused), kind)
    assert_same(fused, plain, images(2, 4, 6, 6))
    assert [m.training for m in fused.train().modules()] == [m.training for m in plain.train().modules()]
    fused.load_state_dict(plain.state_dict())


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
def test_changed_instances_compute_what_they_computed(change: Callable[[Block], object]) -> None:
    block = changed(change).double().eval()
    x = images(2, 4, 6, 6)
    with torch.no_grad():
        expected = block(x)
        torch.testing.assert_close(hgfast.fuse(block)(x), expected)


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
    assert "2 BatchNorms" in fused.fusion.replaced["0"] or name == "strided", str(fused.fusion)
    assert not fused.fusion.left
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


@pytest.mark.parametrize(
    "order", ["conv relu bn", "bn conv relu", "relu conv bn", "conv bn relu relu", "conv bn", "conv bn relu", "relu"]
)
def test_order_of_convolution_norm_and_activation(order: str) -> None:
    plain, fused = pair_of(nn.Sequential(Conv(order), Conv(order)))
    assert_same(hgfast.fuse(fused), plain, images(2, 4, 6, 6))


class OtherResidual(Residual):
    """Adds what its first ReLU gives, as a pre-activation block with an in-place ReLU does."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(x))
        return self.conv3(self.relu(self.bn3(self.conv2(self.relu(self.bn2(self.conv1(out))))))) + out


def test_bottleneck_with_another_sum() -> None:
    for block in (OtherResidual(8, 8), Residual(8, 8), Residual(8, 12)):
        plain, fused = pair_of(block)
        assert_same(hgfast.fuse(fused), plain, images(2, 8, 6, 6))


class Raising(Block):
    """Whose shortcut cannot be asked for."""

    @property
    def downsample(self) -> nn.Module:
        raise KeyError("downsample")

    @downsample.setter
    def downsample(self, value: nn.Module) -> None:
        pass


def test_attributes_that_raise_do_not_escape() -> None:
    report = hgfast.fuse(nn.Sequential(Raising())).fusion
    assert report.left["0"].startswith("KeyError") and not report.replaced


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


def test_what_depends_on_the_number_of_channels() -> None:
    for block in (Wide(16, 16), Wide(10, 10)):
        plain, fused = pair_of(block)
        assert_same(hgfast.fuse(fused), plain, images(2, block.conv1.in_channels, 6, 6))


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
    assert set(report.replaced) == {"0", "1"}


def test_one_proof_for_modules_of_one_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting tells blocks of one class apart."""
    tried = []
    real = proof._tried
    monkeypatch.setattr(proof, "_tried", lambda *arguments: tried.append(arguments) or real(*arguments))
    blocks = [look_alike(look_alikes.scaled_by_attribute) for _ in range(2)]
    blocks[1].scale = 2.0
    report = hgfast.fuse(nn.Sequential(*(Block() for _ in range(30)), *blocks)).fusion
    assert len(report.replaced) == 32 and len(tried) == 3


def test_steps_that_are_wrong_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof notices whatever a lowering does wrong to a block."""
    real = programs.Operation.program

    def without(kind: str) -> Callable:
        def program(operation: programs.Operation, strides: dict[str, int]) -> Program:
            made = real(operation, strides)
            stages = [
                stage._replace(relu=False) if isinstance(stage, Norm) and kind == "relu" else stage
                for stage in made.stages
            ]
            if kind == "residual":
                stages[-1] = stages[-1]._replace(residual=-1)
            return Program(made.inputs, tuple(stages))

        return program

    for kind in ("relu", "residual"):
        monkeypatch.setattr(programs.Operation, "program", without(kind))
        report = hgfast.fuse(nn.Sequential(Block())).fusion
        assert not report.replaced and report.left["0"] == "its steps do not give what its code gives"


@pytest.mark.parametrize("value", [1, "yes", None])
def test_recompute_must_be_a_bool(value: object) -> None:
    with pytest.raises(TypeError, match="fuse: recompute must be True or False"):
        hgfast.fuse(Block(), recompute=value)
