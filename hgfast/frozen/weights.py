"""A graph's weights on their device, and packed for the kernels that plans have chosen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hgfast import _native
from hgfast.frozen.graph import ConvCall, Graph
from hgfast.ops._conv_native import ConvNeeds, ConvSizes, pack


class Weights:
    """Packs on demand and keeps what it packed: plans of other sizes may want another algorithm for a layer."""

    def __init__(self, graph: Graph, dtype: torch.dtype, device: torch.device) -> None:
        """dtype: of the activations and of the packed weights."""
        self.graph, self.dtype, self.device = graph, dtype, device
        self._packed: dict[tuple[int, int], Tensor] = {}
        self._small = [self._vectors(index) for index in range(len(graph.calls))]

    def _vectors(self, index: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        call = self.graph.calls[index]
        bias = call.bias if isinstance(call, ConvCall) else None
        second = call.second
        vectors = (bias, second.scale if second else None, second.shift if second else None)
        return tuple(None if v is None else v.to(self.device).contiguous() for v in vectors)  # type: ignore[return-value]

    def bias(self, index: int) -> Tensor | None:
        """Bias of call `index`, float32 (K,)."""
        return self._small[index][0]

    def second(self, index: int) -> tuple[Tensor | None, Tensor | None]:
        """scale and shift of call `index`'s second output, float32 (K,)."""
        return self._small[index][1:]

    def packed(self, lib: Any, index: int, sizes: ConvSizes, needs: ConvNeeds) -> Tensor:
        """Weights of call `index` for the algorithm in `needs`, uint8."""
        key = index, needs.algorithm
        if key not in self._packed:
            call = self.graph.calls[index]
            assert isinstance(call, ConvCall)
            extra = None if call.extra is None else call.extra.weight.to(self.device)
            weight = call.weight.to(self.device)
            self._packed[key] = pack(lib, sizes, needs, weight, extra, _native.exec_handle(weight))
        return self._packed[key]
