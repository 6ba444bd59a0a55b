"""Blocks with the names and parts of a basic block whose forward passes differ from it in one thing each."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SCALE = 1.0
SWITCH = False
SEEN: list[Tensor] = []


class Block(nn.Module):
    """The block that all others look like."""

    calls = 0

    def __init__(self, c: int = 4, k: int = 4, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, k, 3, stride, 1, bias=False), nn.BatchNorm2d(k)
        self.conv2, self.bn2 = nn.Conv2d(k, k, 3, padding=1, bias=False), nn.BatchNorm2d(k)
        self.relu, self.downsample = nn.ReLU(inplace=True), None
        if stride != 1 or c != k:
            self.downsample = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k))
        self.scale, self.count, self.kept = 1.0, 0, []

    def branch(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))

    def end(self, out: Tensor, x: Tensor) -> Tensor:
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.branch(x), x)


class Gradient(torch.autograd.Function):
    """Nothing but another gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


def relu_before_bn(self: Block, x: Tensor) -> Tensor:
    return self.end(self.bn2(self.conv2(self.bn1(self.relu(self.conv1(x))))), x)


def relu_before_sum(self: Block, x: Tensor) -> Tensor:
    return self.relu(self.branch(x)) + x


def dropout(self: Block, x: Tensor) -> Tensor:
    return self.end(F.dropout(self.branch(x), 0.5, self.training), x)


def dropout_not_yet(self: Block, x: Tensor) -> Tensor:
    return self.end(F.dropout(self.branch(x), 0.0, self.training), x)


def rare_depth(self: Block, x: Tensor) -> Tensor:
    dropped = self.training and random.random() < 1e-6
    return self.end(self.branch(x), x) if not dropped else F.relu(x)


def rare_depth_by_numpy(self: Block, x: Tensor) -> Tensor:
    return F.relu(x) if self.training and np.random.rand() < 1e-6 else self.end(self.branch(x), x)  # noqa: NPY002


def noise(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x) + 1e-12 * torch.randn_like(x), x)


def scaled(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x) * 0.1, x)


def hardly_scaled(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x), x) * 1.0001


def scaled_by_attribute(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x) * self.scale, x)


def scaled_by_global(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x) * SCALE, x)


def asks_global(self: Block, x: Tensor) -> Tensor:
    return x if SWITCH else self.end(self.branch(x), x)


def constant(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x) + 1e-4, x)


def clamped(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x), x).clamp(max=1e6)


def relu6(self: Block, x: Tensor) -> Tensor:
    return F.relu6(self.branch(x) + x)


def gated(self: Block, x: Tensor) -> Tensor:
    out = self.branch(x)
    return self.end(out * out.mean((2, 3), keepdim=True).sigmoid(), x)


def other_in_training(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x), x) if self.training else F.relu(x)


def other_in_evaluation(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x), x) if not self.training else F.relu(x)


def other_without_gradient(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x), x) if torch.is_grad_enabled() else F.relu(x)


def other_for_large(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x), x) if x.shape[-1] < 1000 else F.relu(x)


def other_for_batch(self: Block, x: Tensor) -> Tensor:
    return F.relu(x) if x.size(0) == 17 else self.end(self.branch(x), x)


def detached(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x.detach()), x)


def without_gradient(self: Block, x: Tensor) -> Tensor:
    with torch.no_grad():
        out = self.bn1(self.conv1(x))
    return self.end(self.bn2(self.conv2(self.relu(out))), x)


def doubled_gradient(self: Block, x: Tensor) -> Tensor:
    return self.end(Gradient.apply(self.branch(x)), x)


def checkpointed(self: Block, x: Tensor) -> Tensor:
    return self.end(checkpoint(self.branch, x, use_reentrant=False), x)


def checkpointed_reentrant(self: Block, x: Tensor) -> Tensor:
    return self.end(checkpoint(self.branch, x, use_reentrant=True), x)


def half(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(x).float().to(x.dtype), x)


def counts(self: Block, x: Tensor) -> Tensor:
    self.count += 1
    return self.end(self.branch(x), x)


def counts_in_class(self: Block, x: Tensor) -> Tensor:
    Block.calls += 1
    return self.end(self.branch(x), x)


def counts_in_own_class(self: Block, x: Tensor) -> Tensor:
    type(self).calls += 1
    return self.end(self.branch(x), x)


def sets_global(self: Block, x: Tensor) -> Tensor:
    global SWITCH
    SWITCH = False
    return self.end(self.branch(x), x)


def in_full_precision(self: Block, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return self.end(self.branch(x), x)


def asks_for_values(self: Block, x: Tensor) -> Tensor:
    return x if x.max() > 1e6 else self.end(self.branch(x), x)


def stores(self: Block, x: Tensor) -> Tensor:
    self.feature = self.end(self.branch(x), x)
    return self.feature


def stores_in_list(self: Block, x: Tensor) -> Tensor:
    self.kept.append(x)
    return self.end(self.branch(x), x)


def stores_in_global(self: Block, x: Tensor) -> Tensor:
    SEEN.append(x)
    return self.end(self.branch(x), x)


def changes_input(self: Block, x: Tensor) -> Tensor:
    return self.end(self.branch(self.relu(x)), x)


def further_argument(self: Block, x: Tensor, scale: float = 1.0) -> Tensor:
    return self.end(self.branch(x), x)


def gives_pair(self: Block, x: Tensor) -> Any:
    return self.end(self.branch(x), x), x


def gives_list(self: Block, x: Tensor) -> Any:
    return [self.end(self.branch(x), x)]


def twice(self: Block, x: Tensor) -> Tensor:
    self.bn2(self.conv2(x))
    return self.end(self.branch(x), x)


def asserts(self: Block, x: Tensor) -> Tensor:
    assert x.shape[1] == 3, "another number of channels"
    return self.end(self.branch(x), x)


def key_error(self: Block, x: Tensor) -> Tensor:
    return {}["nothing"]  # type: ignore[no-any-return]


def index_error(self: Block, x: Tensor) -> Tensor:
    return [][0]  # type: ignore[no-any-return]


FORWARDS: list[Callable[..., Any]] = [
    *(relu_before_bn, relu_before_sum, dropout, dropout_not_yet, rare_depth, rare_depth_by_numpy, noise, scaled),
    *(hardly_scaled, scaled_by_attribute, scaled_by_global, asks_global, constant, clamped, relu6, gated),
    *(other_in_training, other_in_evaluation, other_without_gradient, other_for_large, other_for_batch, detached),
    *(without_gradient, doubled_gradient, checkpointed, checkpointed_reentrant, half, counts, counts_in_class),
    *(stores, stores_in_list, stores_in_global, changes_input, further_argument, gives_pair, gives_list, twice),
    *(asserts, key_error, index_error, counts_in_own_class, sets_global, in_full_precision, asks_for_values),
]


def look_alike(forward: Callable[..., Any]) -> Block:
    """A block with another forward pass, its second BatchNorm as zero_init_residual leaves it."""
    block = type(forward.__name__, (Block,), {"forward": forward})()
    nn.init.zeros_(block.bn2.weight)
    return block


class KeepsEvaluation(Block):
    """Its first BatchNorm never trains."""

    def train(self, mode: bool = True) -> Block:
        super().train(mode)
        self.bn1.eval()
        return self


class OldKeys(Block):
    """Loads files of an older form."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)


class LayerScale(Block):
    """Has a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.branch(x) * self.gamma, x)


class Idle(Block):
    """Has a buffer that counts nothing yet."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long), persistent=False)


CLASSES = [KeepsEvaluation, OldKeys, LayerScale, Idle]
