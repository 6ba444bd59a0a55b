"""Networks of any form frozen: the sizes that they take, and those that they refuse as torch does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hgfast.frozen.graph import PoolCall
from tests.lower_models import assert_frozen_alike, frozen_of
from tests.tolerances import relative_error
from tests.zoo.fan import conv3x3


def test_sizes_of_pools_without_merges() -> None:
    model, frozen = frozen_of(nn.Sequential(conv3x3(3, 4), nn.MaxPool2d(2), conv3x3(4, 4), nn.MaxPool2d(2)))
    assert frozen.graph.any_size and sum(isinstance(call, PoolCall) for call in frozen.graph.calls) == 2
    for size in ((7, 9), (8, 8), (5, 6)):
        assert_frozen_alike(model, frozen, torch.randn(1, 3, *size))
    with pytest.raises(ValueError, match=r"got height 3, width 0"):
        frozen(torch.randn(1, 3, 3, 0))


def test_sizes_that_do_not_fit_are_refused_where_torch_refuses_them() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.low, self.pool = conv3x3(3, 4), conv3x3(4, 4), nn.AvgPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return x + F.interpolate(self.low(self.pool(x)), scale_factor=2)

    model, frozen = frozen_of(Net())
    assert frozen.graph.any_size
    assert_frozen_alike(model, frozen, torch.randn(1, 3, 8, 10))
    with pytest.raises(ValueError, match="does not take 1 images of height 9, width 10"):
        frozen(torch.randn(1, 3, 9, 10))


def test_other_channels_and_grey_images() -> None:
    model, frozen = frozen_of(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()))
    images = torch.randn(2, 1, 6, 6)
    with torch.no_grad():
        assert relative_error(frozen(images), model(images)) < 1e-6
    with pytest.raises(ValueError, match=r"images must have shape \(N, 1, H, W\), got \(2, 3, 6, 6\)"):
        frozen(torch.randn(2, 3, 6, 6))


class Pyramid(nn.Module):
    """Maps of 1/64 of the size, their mean added to them (repeated, and by broadcasting)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*(nn.Conv2d(4 if i else 3, 4, 3, 2, 1) for i in range(6)))
        self.low, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        mean = self.low(F.adaptive_avg_pool2d(x, 1))
        return self.last(x + F.interpolate(mean, size=x.shape[2:])) + mean


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (320, 200), (512, 256)])
def test_sizes_that_are_equal_by_chance(size: tuple[int, int]) -> None:
    model, frozen = frozen_of(Pyramid())
    assert_frozen_alike(model, frozen, torch.randn(1, 3, *size))
