"""A graph's weights on their device, and packed for the kernels that plans have chosen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hgfast import _native
from hgfast.frozen.graph import ConvCall, Graph
from hgfast.ops._conv_native import ConvNeeds, ConvSizes, pack


class Weights:
    """Packs on demand and keeps what it packed.

    The graph's tensors, which live as long as it does, are the keys, with the packing: plans of other sizes may want
    another one for a layer on the CPU; on CUDA one plan's weights are every plan's. While a CUDA graph is captured
    nothing is brought or packed: it would be there only after a replay, in memory that belongs to that graph.
    """

    def __init__(self, graph: Graph, dtype: torch.dtype, device: torch.device, exact: bool) -> None:
        """dtype: of the activations and of the packed weights; exact: see ConvSizes."""
        self.graph, self.dtype, self.device, self.exact = graph, dtype, device, exact
        self._packed: dict[tuple[int, int], Tensor] = {}
        self._vectors: dict[int, Tensor] = {}
        self._plain: dict[int, Tensor] = {}

    def tensors(self) -> list[Tensor]:
        """All that was packed or brought to the device so far."""
        return [*self._packed.values(), *self._vectors.values(), *self._plain.values()]

    def plain(self, tensor: Tensor) -> Tensor:
        """A tensor of the graph as PyTorch's own operators take it: on the device, in the activations' dtype."""
        if id(tensor) not in self._plain:
            self._check_capture()
            self._plain[id(tensor)] = tensor.to(self.device, self.dtype)
        return self._plain[id(tensor)]

    def vector(self, tensor: Tensor | None) -> Tensor | None:
        """A bias, scale or shift of the graph, float32 (K,), on the device."""
        if tensor is None:
            return None
        if id(tensor) not in self._vectors:
            self._check_capture()
            self._vectors[id(tensor)] = tensor.to(self.device).contiguous()
        return self._vectors[id(tensor)]

    def packed(self, lib: Any, call: ConvCall, sizes: ConvSizes, needs: ConvNeeds) -> Tensor:
        """Weights of a call in the packing of `needs`, uint8."""
        key = id(call.weight), needs.packing
        if key not in self._packed:
            self._check_capture()
            extra = None if call.extra is None else call.extra.weight.to(self.device)
            weight = call.weight.to(self.device)
            self._packed[key] = pack(lib, sizes, needs, weight, extra, _native.exec_handle(weight))
        return self._packed[key]

    def _check_capture(self) -> None:
        if self.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("a frozen network must be called once before a CUDA graph with it is captured")
