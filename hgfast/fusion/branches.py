"""The branches of an hourglass: whether they leave their input as it is, and what stands for them in a proof."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hgfast.fusion.copies import clean_copy, generator, undisturbed
from hgfast.nn import BasicBlock, Bottleneck, ConvModule, HourglassModule, NewellHourglass
from hgfast.nn.pool import MaxPool
from hgfast.nn.sequential import FusedSequential

READERS = (
    *(BasicBlock, Bottleneck, ConvModule, HourglassModule, NewellHourglass, MaxPool),
    *(nn.Conv2d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.MaxPool2d, nn.AvgPool2d, nn.ConvTranspose2d, nn.GroupNorm),
)  # modules that write into a new tensor


def leaves_input(branch: Any) -> bool:
    """Whether a branch certainly does not change its input.

    An hourglass reads its input more than once, and not in one order: one of the fused kind pools it first.
    """
    if isinstance(branch, _StandIn) or type(branch) in READERS:
        return True
    if type(branch).forward in (nn.Sequential.forward, FusedSequential.forward):
        for part in branch:
            if type(part) is not nn.Identity:
                return leaves_input(part)
        return True
    return not _may_write(branch)


def _may_write(branch: nn.Module) -> bool:
    """Whether a copy of a branch changes its input, or cannot be asked."""
    sizes = (getattr(part, "in_channels", getattr(part, "num_features", 0)) for part in branch.modules())
    candidates = list(dict.fromkeys(size for size in sizes if isinstance(size, int) and size)) or [4]
    asked = 0
    with undisturbed(), torch.no_grad():
        try:
            twin = clean_copy(branch)
        except Exception:  # of whatever hangs on a user's module
            return True
        for channels, training in product(candidates[:4], (True, False)):
            x = torch.randn(2, channels, 8, 8, dtype=torch.float64, device="cpu", generator=generator())
            given = x.clone()
            try:
                twin.train(training)(given)
            except Exception:  # a user's code may raise anything, and these need not be its channels
                continue
            asked += 1
            if not torch.equal(given, x):
                return True
    return asked < 2


def stand_in(branch: Any, stride: int) -> nn.Module:
    """A module of four channels and simple numbers that passes for one of branch's class."""
    kind: Any = _stand_in_kind(type(branch))  # type: ignore[arg-type]
    made = kind.__new__(kind)
    nn.Module.__init__(made)
    made.stand_in_conv, made.stand_in_norm, made.stand_in_stride = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), stride
    return made  # type: ignore[no-any-return]


class _StandIn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.stand_in_conv.weight, self.stand_in_conv.bias, self.stand_in_stride)  # type: ignore
        return torch.tanh(self.stand_in_norm(y))  # type: ignore[operator]


@cache
def _stand_in_kind(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind)(kind.__name__, (_StandIn, kind), {})  # type: ignore
