"""Random arguments of a case, all of them drawn from (seed, target, index)."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
FLOATS = (torch.float32, torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Draw:
    """The source of everything random in case `index`; `folder` is a folder of its own, removed by `close`."""

    def __init__(self, target: str, seed: int, index: int) -> None:
        self.index = index
        self.random = random.Random(f"{target}/{seed}/{index}")
        torch.default_generator.manual_seed(self.random.getrandbits(40))  # torch.manual_seed looks at CUDA, too: 0.5 ms
        self.numpy = np.random.default_rng(self.random.getrandbits(40))
        self._folder: Path | None = None

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def one(self, options: Sequence[T]) -> T:
        return options[self.random.randrange(len(options))]

    def int(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def float(self, low: float, high: float) -> float:
        return self.random.uniform(low, high)

    def dtype(self) -> torch.dtype:
        return self.one(FLOATS)

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hgfast-fuzz-"))
        return self._folder

    def close(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def maps(self, empty: float = 0.05) -> tuple[int, int, int, int]:
        """A shape (N, C, H, W): small, often odd or 1, sometimes without images or channels."""
        n, c = self.one((1, 1, 2, 3)), self.one((1, 2, 3, 4, 5, 8, 16, 17, 32))
        h, w = (self.one((1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 19)) for _ in range(2))
        if self.chance(empty):
            return (0, c, h, w) if self.chance(0.5) else (n, 0, h, w)
        return n, c, h, w

    def tensor(
        self, *shape: int, dtype: torch.dtype = torch.float32, grad: bool = False, plain: bool = False
    ) -> Tensor:
        """Normal numbers in one of the memory orders that a view can have; plain: contiguous, values in [0.5, 1.5]."""
        if plain:
            values = torch.rand(shape, dtype=torch.float64).add_(0.5).to(dtype)
        else:
            values = self._strided(torch.randn(shape, dtype=torch.float64).to(dtype))
        return values.detach().requires_grad_(grad)

    def _strided(self, x: Tensor) -> Tensor:
        """The same values, or, where a dimension is expanded, the first of them repeated."""
        way = self.one(("contiguous", "channels_last", "channels_last", "sliced", "offset", "permuted", "expanded"))
        if way == "channels_last" and x.dim() == 4:
            return x.contiguous(memory_format=torch.channels_last)
        if way == "sliced":
            large = x.new_empty([2 * size + 1 for size in x.shape])
            return large[tuple(slice(0, 2 * size, 2) for size in x.shape)].copy_(x)
        if way == "offset":
            return x.new_empty(x.numel() + 1)[1:].view(x.shape).copy_(x)
        if way == "permuted" and x.dim() > 1:
            order = self.random.sample(range(x.dim()), x.dim())
            back = [order.index(i) for i in range(x.dim())]
            return x.permute(order).contiguous().permute(back)
        if way == "expanded" and x.dim() > 1 and x.numel():
            place = self.random.randrange(x.dim())
            return x.narrow(place, 0, 1).expand(x.shape)
        return x

    def array(self, *shape: int, low: float = 0.0, high: float = 60.0) -> np.ndarray:
        """Numbers in [low, high), float64 or float32."""
        values = self.numpy.uniform(low, high, shape)
        return values.astype(self.one((np.float64, np.float32)))
