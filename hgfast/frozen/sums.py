"""Sums under construction: convolutions, values and repeated sums that become as few calls as possible."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hgfast.frozen.graph import Value


@dataclass
class Product:
    """A "same" convolution with bias, float64: weight (K, C, r, r), bias (K,).

    Attributes:
        node: its number in the captured graph, by which calls are ordered.
        phases: 4 where its channels are those of the four pixels that each pixel becomes (a transposed convolution).
    """

    node: int
    name: str
    x: Value
    weight: Tensor
    bias: Tensor
    stride: int = 1
    phases: int = 1

    def scaled(self, scale: Tensor, shift: Tensor) -> Product:
        """Return it with a BatchNorm behind it, scale and shift (K,)."""
        scale, shift = scale.repeat(self.phases), shift.repeat(self.phases)
        weight, bias = self.weight * scale[:, None, None, None], self.bias * scale + shift
        return replace(self, weight=weight, bias=bias)

    @property
    def size(self) -> int:
        """Multiplications for each pixel of the result."""
        return self.weight.numel()


@dataclass
class Raised:
    """A sum, each pixel of it repeated `factor` times in both directions.

    exact: by the factor, and not to the size of what it is added to, whatever that is.
    """

    sum: Sum
    factor: int
    exact: bool


@dataclass
class Sum:
    """[relu](products + values + raised)."""

    products: list[Product] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    raised: list[Raised] = field(default_factory=list)
    relu: bool = False

    @property
    def value(self) -> Value | None:
        """The value that it is, if it is one."""
        alone = len(self.values) == 1 and not self.products and not self.raised and not self.relu
        return self.values[0] if alone else None

    @property
    def product(self) -> Product | None:
        """The convolution that it is, if it is one."""
        alone = len(self.products) == 1 and not self.values and not self.raised and not self.relu
        return self.products[0] if alone else None

    def plus(self, other: Sum) -> Sum:
        """Add two sums that end in no ReLU."""
        return Sum(self.products + other.products, self.values + other.values, self.raised + other.raised)


def paired(products: list[Product]) -> list[tuple[Product, Product | None]]:
    """Join each 1x1 convolution that is left to a larger one, as further channels of its input."""
    rest = sorted(products, key=lambda p: -p.size)  # stable: the first of equal ones is the main one
    pairs: list[tuple[Product, Product | None]] = []
    while rest:
        main = rest.pop(0)
        extra = next((p for p in rest if p.weight.shape[2:] == (1, 1)), None)
        if extra is not None:
            rest.remove(extra)
        pairs.append((main, extra))
    return sorted(pairs, key=lambda pair: pair[0].node)


def from_transposed(weight: Tensor, padding: int) -> Tensor | None:
    """Return the 3x3 convolution (4 K, C, 3, 3) that makes the four pixels of a transposed one of stride 2.

    Pixel 2 i + a of the result is the sum over d in (-1, 0, 1) of pixel i + d times tap a + padding - 2 d.

    Args:
        weight: (C, K, r, r).
        padding: of the transposed convolution.

    Returns:
        None where it reaches further than the neighbours.
    """
    c, k, taps, _ = weight.shape
    places = [[(a + padding - 2 * d, d + 1) for d in (-1, 0, 1) if 0 <= a + padding - 2 * d < taps] for a in (0, 1)]
    if sorted(tap for place in places for tap, _ in place) != list(range(taps)):
        return None
    result = torch.zeros(2, 2, k, c, 3, 3, dtype=weight.dtype, device=weight.device)
    for a, rows in enumerate(places):
        for b, columns in enumerate(places):
            for row, y in rows:
                for column, x in columns:
                    result[a, b, :, :, y, x] = weight[:, :, row, column].t()
    return result.reshape(4 * k, c, 3, 3)
