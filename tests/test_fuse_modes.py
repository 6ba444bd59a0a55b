"""`fuse` on modules that do something else in training than in evaluation: they get a forward pass for each."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hgfast
from hgfast.fusion.classes import is_fused, ways_of
from hgfast.graph import capture
from tests.recipe import apply_recipe
from tests.tolerances import relative_error
from tests.zoo.count import torch_convolutions


class Block(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Stages(nn.Module):
    """All results in training, the last one in evaluation; one more convolution in training."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.auxiliary = Block(3, 8), Block(8, 8), nn.Conv2d(8, 4, 1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        x = self.a(x)
        y = F.relu(self.norm(self.b(x) + x))
        if not self.training:
            return self.head(y)
        return [self.auxiliary(x), self.head(y)]


class AsksAnother(nn.Module):
    """Decides by the flag of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = Block(3, 8), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        return self.head(x) if self.block.training == True else self.head(self.head(x))  # noqa: E712


def pair(kind: type[nn.Module]) -> tuple[nn.Module, nn.Module]:
    """A network and its fused copy, in float64."""
    plain = apply_recipe(kind(), 1).double()
    return plain, hgfast.fuse(copy.deepcopy(plain))


def assert_alike(plain: nn.Module, fused: nn.Module) -> None:
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for one, other in zip(
        torch.utils._pytree.tree_leaves(fused(x)), torch.utils._pytree.tree_leaves(plain(x)), strict=True
    ):
        assert relative_error(one, other) < 1e-12
    for name, buffer in plain.named_buffers():
        assert torch.allclose(buffer, fused.get_buffer(name), 1e-12), name


@pytest.mark.parametrize("kind", [Stages, AsksAnother])
def test_a_forward_pass_for_each_mode(kind: type[nn.Module]) -> None:
    plain, fused = pair(kind)
    assert [way.training for way in ways_of(fused)] == [True, False]
    twins = [fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))]
    for training in (True, False, True):
        for twin in (plain, *twins):
            twin.train(training)
        state = copy.deepcopy(plain.state_dict())
        for twin in twins:
            plain.load_state_dict(state)
            assert_alike(plain, twin)
        single = copy.deepcopy(fused).float()
        with torch.no_grad():
            assert torch_convolutions(lambda: single(torch.randn(1, 3, 6, 8))).total() == 0  # noqa: B023
    assert not is_fused(hgfast.unfuse(fused))


def test_parts_in_another_mode_run_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag that decides is looked at, that of a BatchNorm alone decides nothing."""
    plain, fused = pair(AsksAnother)
    for model in (plain, fused):
        model.train()
        model.block.bn.eval()
    assert_alike(plain, fused)
    ran: list[str] = []
    code = AsksAnother.forward
    monkeypatch.setattr(AsksAnother, "forward", lambda self, x: ran.append("code") or code(self, x))
    for model in (plain, fused):
        model.block.eval()
    assert_alike(plain, fused)
    assert ran.count("code") == 1  # the plain one's
    assert capture(plain, training=True).decided == {"block"}


def test_what_runs_in_training_alone_is_reported() -> None:
    report = pair(Stages)[1].fusion
    training, evaluation = report.replaced[""].split("; ")
    assert training == "in training 3 operations: 4 convolutions, 3 BatchNorms"
    assert evaluation == "in evaluation 1 operation: 3 convolutions, 3 BatchNorms"
    assert not report.left, report


def test_statistics_are_synchronised_where_training_fuses() -> None:
    model = hgfast.nn.convert_sync_batchnorm(hgfast.fuse(Stages()))
    assert type(model.norm) is nn.BatchNorm2d and model.norm.synchronised
