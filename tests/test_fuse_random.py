"""`fuse` on random networks: nobody can tell the fused one from the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import hgfast
from tests.look_alikes import Block
from tests.random_modules import CHANNELS, RandomModule
from tests.recipe import apply_recipe
from tests.same_behaviour import assert_same, images, pair_of

FOUND = (345, 602, 888, 930, 1121, 1501)
"""Seeds that were wrong once: a sum of a BatchNorm and its input, a BatchNorm that is called twice, other names of what
is written into, values that are kept and written into later."""


@pytest.mark.parametrize("seed", [*range(60), *FOUND])
def test_random_network(seed: int) -> None:
    model = apply_recipe(RandomModule(seed), seed)
    plain, fused = pair_of(model)
    hgfast.fuse(fused, recompute=seed % 2 == 1)
    assert_same(fused, plain, images(2, CHANNELS, 6, 4), 1e-7)


def test_random_networks_run_in_kernels() -> None:
    """They are worth trying: nearly all have fused operations, and few convolutions are left."""
    reports = [hgfast.fuse(RandomModule(seed)).fusion for seed in range(60)]
    assert sum(bool(report.replaced) for report in reports) > 50
    assert torch.tensor([len(report.left) for report in reports]).float().mean() < 1


class Twice(nn.Module):
    """Calls one block twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.block(x)) + x


def test_a_block_that_is_called_twice_is_fused() -> None:
    plain, fused = pair_of(Twice())
    assert hgfast.fuse(fused).fusion.replaced == {"block": "1 operation: 2 convolutions, 2 BatchNorms"}
    assert_same(fused, plain, images(2, 4, 6, 6))
