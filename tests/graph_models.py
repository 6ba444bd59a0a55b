"""Small modules with one peculiarity each; whole networks are in tests/zoo."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.recipe import apply_recipe


class Of(nn.Module):
    """A few layers and a forward that is given."""

    def __init__(self, forward: Callable[..., Any], c: int = 3) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(c, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.other, self.norm, self.p = nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6), 0.3
        self.given = forward

    def forward(self, *args: Any) -> Any:
        return self.given(self, *args)


class Pair(nn.Module):
    """Takes and gives containers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(2, 4, 3, padding=1)

    def forward(self, batch: dict[str, Any], scale: float = 2.0, mode: str = "tensor") -> dict[str, Any]:
        if mode != "tensor":
            raise ValueError(mode)
        x, y = self.a(batch["image"]), self.b(batch["more"][0])
        return {"sum": (x + y) * scale, "each": [x, (y,)], "point": Point(x, y)}


Point = namedtuple("Point", "x y")


class Weighed(nn.Conv2d):
    """A convolution whose weight is standardised."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Renamed(nn.Conv2d):
    """torch's own under another name."""


def twice(m: Of, x: Tensor) -> Tensor:
    x = m.relu(m.bn(m.conv(x)))
    return m.other(m.relu(m.other(x)))


def in_place(m: Of, x: Tensor) -> Tensor:
    y = m.conv(x)
    z = y + 1
    y += m.other(y + 0)
    w = m.relu(y)  # y is w
    z.add_(w)
    return z * y


def aliases(m: Of, x: Tensor) -> Tensor:
    y = m.conv(x)
    first = y[:, :3]
    first.mul_(2)
    flat = y.view(y.size(0), -1)
    flat += 1  # y is flat
    return m.other(y)


def functional(m: Of, x: Tensor) -> Tensor:
    y = F.dropout(F.leaky_relu(m.conv(x), 0.1), m.p, m.training)
    y = F.batch_norm(y, m.bn.running_mean, m.bn.running_var, m.bn.weight, m.bn.bias, m.training, 0.1, 1e-3)
    return F.hardswish(y).mean((2, 3))


def sliced(m: Of, x: Tensor) -> Any:
    y = m.norm(m.conv(x))
    a, b = y.chunk(2, dim=1)
    return a, b[..., ::2], {"size": y.shape[-1], "max": y.flatten(2).max(-1)}


def asked(m: Of, x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or torch.is_tensor(m):
        raise TypeError
    y = m.conv(x)
    assert y.dim() == 4 and y.shape[1] == 6, "channels"
    return y if isinstance(y, (list, tuple)) else m.other(y)


def network(make: Callable[[], nn.Module], opaque: bool = False, args: Any = None) -> Callable[[], Any]:
    """The module with numbers that are no identities, its arguments, and whether any of it is left to torch."""
    return lambda: (apply_recipe(make(), 5), args or (torch.randn(2, 3, 32, 64),), opaque)


def spectral() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU())


BATCH = ({"image": torch.randn(1, 3, 4, 4), "more": [torch.randn(1, 2, 4, 4)]},)
NETWORKS: dict[str, Callable[[], Any]] = {
    "pair": network(Pair, True, BATCH),
    "twice": network(lambda: Of(twice)),
    "in_place": network(lambda: Of(in_place), True),
    "aliases": network(lambda: Of(aliases), True),
    "functional": network(lambda: Of(functional), True),
    "sliced": network(lambda: Of(sliced), True),
    "asked": network(lambda: Of(asked), True),
    "weighed": network(lambda: nn.Sequential(Weighed(3, 4, 3), nn.ReLU()), True),
    "renamed": network(lambda: nn.Sequential(Renamed(3, 4, 3), nn.ReLU())),
    "parametrized": network(spectral, True),
    "depthwise": network(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU6())
    ),
    "reflection": network(lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=2, dilation=2, padding_mode="reflect"))),
    "attention": network(lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten(2), nn.Linear(2048, 4)), True),
    "one_layer": network(lambda: nn.Conv2d(3, 4, 3), True),
}
