"""Synchronised BatchNorm on fake devices: one exchange a layer and direction, and no wait for the device.

The other process has the same images: the statistics are those of both halves together. Two true processes:
tests/test_fuse_parallel.py.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.distributed as dist

from hgfast.nn import BasicBlock, BatchNormAct, _norm, convert_sync_batchnorm
from tests.fake_cuda.machine import Machine
from tests.recipe import apply_recipe


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The collectives that were asked for."""
    found: list[str] = []

    def all_gather(parts: list[torch.Tensor], mine: torch.Tensor, group: Any) -> None:
        found.append("gather")
        for part in parts:
            part.copy_(mine)

    def all_reduce(total: torch.Tensor, group: Any) -> None:
        found.append("reduce")
        total.mul_(2)

    wanted = lambda bn: "both" if getattr(bn, "synchronised", False) else None  # noqa: E731
    monkeypatch.setattr(_norm, "synchronised_group", wanted)
    monkeypatch.setattr(dist, "get_world_size", lambda group: 2)
    monkeypatch.setattr(dist, "all_gather", all_gather)
    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    return found


def step(block: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """A training step's result, gradients and statistics."""
    x = x.requires_grad_()
    y = block(x)
    gradients = torch.autograd.grad(y.square().sum(), [x, *block.parameters()])
    return [y.detach(), *gradients, *block.buffers()]


def test_the_host_waits_for_nothing(gpu: Machine, exchanges: list[str]) -> None:
    block = apply_recipe(BasicBlock(4, 4), 3).train()
    x = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    whole = step(copy.deepcopy(block), torch.cat([x, x]))
    convert_sync_batchnorm(block)
    block, on_device = block.to("cuda"), x.detach().to("cuda")
    torch.cuda.synchronize()
    gpu.log.clear()
    found = step(block, on_device)
    assert gpu.waits() == [] and exchanges == ["gather"] * 2 + ["reduce"] * 2
    y, x_grad, *rest = [tensor.cpu() for tensor in found]
    parameters = sum(1 for _ in block.parameters())
    torch.testing.assert_close(y, whole[0][:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x_grad, whole[1][:2], rtol=1e-4, atol=1e-4)
    for name, (ours, theirs) in enumerate(zip(rest, whole[2:], strict=True)):
        half = 0.5 if name < parameters else 1.0  # of a parameter's gradient, which DDP adds up
        torch.testing.assert_close(ours, theirs * half if half < 1 else theirs, rtol=1e-4, atol=1e-4)


def test_the_mean_over_all_batches_waits_for_nothing(gpu: Machine, exchanges: list[str]) -> None:
    """momentum=None: the number of batches, by which it divides, is read on the device."""
    alone = BatchNormAct(3, momentum=None).train()
    norm = copy.deepcopy(alone).to("cuda")
    norm.synchronised = True
    batches = [torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    on_device = [x.to("cuda") for x in batches]
    torch.cuda.synchronize()
    gpu.log.clear()
    for x in on_device:
        norm(x)
    assert gpu.waits() == [] and exchanges == ["gather"] * 3
    for x in batches:
        alone(torch.cat([x, x]))
    assert norm.num_batches_tracked is not None and norm.num_batches_tracked.cpu() == 3
    for ours, theirs in ((norm.running_mean, alone.running_mean), (norm.running_var, alone.running_var)):
        torch.testing.assert_close(ours.cpu(), theirs)


@pytest.mark.parametrize("other", [0.0, 1.0])
def test_one_value_of_its_own_may_be_enough(
    other: float, gpu: Machine, exchanges: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another process's value; then the host must wait, to know."""

    def all_gather(parts: list[torch.Tensor], mine: torch.Tensor, group: Any) -> None:
        for part, count in zip(parts, (1.0, other), strict=True):
            part.copy_(mine)
            part[-1] = count

    monkeypatch.setattr(dist, "all_gather", all_gather)
    norm, x = BatchNormAct(3, relu=False).train(), torch.randn(1, 3, 1, 1)
    norm.synchronised = True
    if not other:
        with pytest.raises(ValueError, match="expected more than 1 value per channel over all processes"):
            norm(x)
        return
    assert norm(x).abs().max() < 1e-3
    torch.testing.assert_close(norm.running_mean, 0.1 * x.flatten())
    torch.testing.assert_close(norm.running_var, torch.full((3,), 0.9))
