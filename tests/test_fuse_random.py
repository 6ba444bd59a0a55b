"""`fuse` on random networks: nobody can tell the fused one from the other."""

from __future__ import annotations

import pytest
import torch

import hgfast
from tests.random_modules import CHANNELS, RandomModule
from tests.recipe import apply_recipe
from tests.same_behaviour import assert_same, images, pair_of


@pytest.mark.parametrize("seed", range(60))
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
