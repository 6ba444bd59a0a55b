"""A call of torch's inside a plan: it reads the arena, and what it makes lives outside of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from hgfast.frozen.torch_call import TorchCall


@dataclass
class TorchCallStep:
    """Runs a call.

    Attributes:
        call: the call.
        arena: memory that is used again: what a call gives of it (a view of its input) is copied.
        places: the values that it reads from the arena, as tensors (N, C, H, W).
        weights: of the frozen network.
        is_map: whether kernels may read the result: it is then dense in channels_last.
        kernel, weight_bytes: as those of other steps, for tables.
    """

    call: TorchCall
    arena: Tensor
    places: dict[int, Tensor]
    weights: Any
    is_map: bool
    kernel: str = "torch"
    weight_bytes: int = 0

    def run(self, tensors: dict[int, Any], exec_handle: int) -> None:
        """Run it; tensors: the values that are not in the arena, to which its own is added."""
        values, output = _Both(self.places, tensors), self.call.output
        with torch.autocast(self.arena.device.type, enabled=False):
            if self.call.into:
                self.call.run(values, self.weights, out=values[output])
                return
            result = self.call.run(values, self.weights)
        result = tree_map(self._own, result)
        tensors[output] = result.contiguous(memory_format=torch.channels_last) if self.is_map else result

    def _own(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() == self.arena.untyped_storage().data_ptr():
            return leaf.clone()
        return leaf


class _Both(dict[int, Any]):
    """Values in the arena, and those outside of it."""

    def __init__(self, places: dict[int, Tensor], tensors: dict[int, Any]) -> None:
        super().__init__()
        self.places, self.tensors = places, tensors

    def __getitem__(self, value: int) -> Any:
        return self.places[value] if value in self.places else self.tensors[value]
