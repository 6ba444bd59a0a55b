"""What each of two processes does in tests/test_fuse_parallel.py."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import hgfast
from hgfast.train.parallel import leave
from tests.foreign_models import foreign_model
from tests.processes import meet
from tests.recipe import apply_recipe

STEPS = 3


def batches(count: int) -> torch.Tensor:
    """The images of all steps, (STEPS, count, 3, 64, 64)."""
    return torch.randn(STEPS, count, 3, 64, 64, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def network(family: str) -> nn.Module:
    return apply_recipe(foreign_model(family, num_stacks=1), 1).double()


def train(model: nn.Module, inner: nn.Module, images: torch.Tensor) -> None:
    """Some steps of gradient descent; `inner` says how the model wants its images."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    princeton = hasattr(inner, "nstack")
    for batch in images:
        optimizer.zero_grad()
        result = model(batch.permute(0, 2, 3, 1) if princeton else batch)
        (result if princeton else torch.stack(result)).square().mean().backward()
        optimizer.step()


def work(rank: int, folder: str, family: str, synchronised: bool, recompute: bool) -> None:
    """Train on this process's half of each batch under DDP without find_unused_parameters; rank 0 writes the result."""
    meet(rank, f"{folder}/meeting")
    model = hgfast.fuse(network(family), recompute=recompute)
    if synchronised:
        model = hgfast.nn.convert_sync_batchnorm(model)
    images = batches(4)[:, 2 * rank : 2 * rank + 2]
    train(DistributedDataParallel(model), model, images)
    if rank == 0:
        torch.save(model.state_dict(), Path(folder) / "result.pt")
    leave()


def alone(family: str) -> dict[str, torch.Tensor]:
    """The state after training on the whole batches in one process, plain modules."""
    model = network(family)
    train(model, model, batches(4))
    return copy.deepcopy(model.state_dict())
