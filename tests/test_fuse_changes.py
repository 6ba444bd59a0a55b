"""Networks that are changed after they were fused: what runs is what they are now."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hgfast
from tests.look_alikes import Block
from tests.same_behaviour import assert_same, images, pair_of


class Network(nn.Module):
    """Blocks in a list, a shortcut that may be missing, layers without parameters, a merge."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block(4, 4)])
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.act: nn.Module = nn.ReLU()
        self.shortcut: nn.Module | None = nn.Conv2d(4, 4, 1)
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        y = self.up(self.body(self.pool(x))) + x
        if self.shortcut is not None:
            y = self.act(self.shortcut(y)) * self.scale
        return y


CHANGES: dict[str, Callable[[Network], object]] = {
    "nothing": lambda m: None,
    "another block": lambda m: m.blocks.append(Block()),
    "a block less": lambda m: m.blocks.__delitem__(0),
    "blocks in another order": lambda m: m.blocks.insert(0, m.blocks.pop(1)),
    "no shortcut": lambda m: setattr(m, "shortcut", None),
    "another activation": lambda m: setattr(m, "act", nn.SiLU()),
    "another activation in a block": lambda m: setattr(m.blocks[0], "relu", nn.SiLU()),
    "another activation in a sequence": lambda m: m.body.__setitem__(2, nn.Tanh()),
    "a longer sequence": lambda m: m.body.append(nn.Sigmoid()),
    "a shorter sequence": lambda m: m.body.__delitem__(2),
    "another pooling": lambda m: setattr(m, "pool", nn.AvgPool2d(2)),
    "a pooling with other settings": lambda m: setattr(m.pool, "ceil_mode", True),
    "another interpolation": lambda m: setattr(m.up, "mode", "bilinear"),
    "a setting": lambda m: setattr(m, "scale", 0.5),
    "a convolution of another kind": lambda m: setattr(m.blocks[0], "conv1", nn.Conv2d(4, 4, 3, padding=2, dilation=2)),
    "a convolution with other settings": lambda m: setattr(m.body[0], "padding_mode", "reflect"),
    "no BatchNorm": lambda m: setattr(m.blocks[1], "bn2", nn.Identity()),
    "a shortcut in a block": lambda m: setattr(m.blocks[1], "downsample", nn.Conv2d(4, 4, 1)),
    "a hook on an activation": lambda m: m.act.register_forward_hook(lambda *parts: parts[-1] + 1),
    "a hook on a sequence": lambda m: m.body.register_forward_hook(lambda *parts: parts[-1] + 1),
    "a hook on a BatchNorm": lambda m: m.body[1].register_forward_hook(lambda *parts: parts[-1] * 2),
    "a forward of its own": lambda m: setattr(m.blocks[0], "forward", torch.tanh),
}


GIVEN: dict[str, Callable[[], object]] = {
    "other channels": lambda: torch.randn(2, 3, 6, 6),
    "three dimensions": lambda: torch.randn(4, 6, 6),
    "whole numbers": lambda: torch.ones(2, 4, 6, 6, dtype=torch.int64),
    "another precision": lambda: torch.randn(2, 4, 6, 6).bfloat16(),
    "no images": lambda: torch.randn(0, 4, 6, 6),
    "no pixels": lambda: torch.randn(2, 4, 0, 6),
    "sparse": lambda: torch.randn(2, 4, 6, 6).to_sparse(),
    "complex": lambda: torch.randn(2, 4, 6, 6, dtype=torch.complex64),
    "without data": lambda: torch.randn(2, 4, 6, 6, device="meta"),
    "a list": lambda: [1],
    "nothing": lambda: None,
}


@pytest.mark.parametrize("where", ["cpu", "meta"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("given", GIVEN)
def test_whatever_is_given_the_answer_is_torchs(given: str, training: bool, where: str) -> None:
    """The same results or the same words, of networks without data, too."""
    fused = hgfast.fuse(nn.Sequential(Block(), Block())).train(training).to(where)
    answers = []
    for model in (fused, hgfast.unfuse(copy.deepcopy(fused))):
        try:
            y = model(GIVEN[given]())
            answers.append((y.shape, y.dtype, y.device))
        except Exception as error:
            answers.append((type(error), str(error)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_network(change: str) -> None:
    torch.manual_seed(1)
    plain, fused = pair_of(Network())
    hgfast.fuse(fused)
    assert not fused.fusion.left
    for model in (plain, fused):
        torch.manual_seed(2)
        CHANGES[change](model)
        model.double()
    assert_same(fused, plain, images(2, 4, 8, 6))
    assert_same(copy.deepcopy(fused), copy.deepcopy(plain), images(2, 4, 8, 6))
