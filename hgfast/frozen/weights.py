"""A graph's weights on their device, and packed for the kernels that plans have chosen."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hgfast import _native
from hgfast.frozen.coded_weights import CodedWeights, coded_weights
from hgfast.frozen.codes import Codes
from hgfast.frozen.graph import ConvCall, Graph
from hgfast.frozen.pages import Pages
from hgfast.ops._conv_native import ConvNeeds, ConvShape, pack

if TYPE_CHECKING:
    from hgfast._library import Library


class Weights:
    """Packs on demand and keeps what it packed.

    The graph's tensors, which live as long as it does, are the keys, with the packing: plans of other sizes may want
    another one for a layer on the CPU; on CUDA one plan's weights are every plan's. Pages of a file are given back when
    they are packed. While a CUDA graph is captured nothing is brought or packed: it would be there only after a replay,
    in memory that belongs to that graph.
    """

    def __init__(self, graph: Graph, dtype: torch.dtype, device: torch.device, exact: bool, int8: bool = False) -> None:
        """dtype: of the activations and of the packed weights; exact: see ConvShape, it concerns float32 only; int8:
        with those in int8 that the graph's quantisation says."""
        self.graph, self.dtype, self.device, self.int8 = graph, dtype, device, int8
        self.exact = exact and dtype == torch.float32
        self._packed: dict[tuple[int, int], Tensor] = {}
        self._pages = Pages(device)
        self._vectors: dict[int, Tensor] = {}
        self._plain: dict[int, Tensor] = {}
        self._held: dict[int, Tensor] = {}
        self._modules: dict[int, nn.Module] = {}
        self._constants: dict[tuple[float, int], Tensor] = {}
        self._coded: dict[int, CodedWeights] = {}

    def tensors(self) -> list[Tensor]:
        """Return all that was packed or brought to the device so far."""
        modules = (tensor for module in self._modules.values() for tensor in (*module.parameters(), *module.buffers()))
        kept = self._packed, self._vectors, self._plain, self._held, self._constants
        return [*modules, *(tensor for tensors in kept for tensor in tensors.values())]  # type: ignore[attr-defined]

    def plain(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the graph as PyTorch's own operators take it: on the device, in the activations' dtype."""
        if id(tensor) not in self._plain:
            self._check_first_use()
            memory_format = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
            self._plain[id(tensor)] = self._own(tensor, self.dtype).contiguous(memory_format=memory_format)
        return self._plain[id(tensor)]

    def held(self, tensor: Tensor) -> Tensor:
        """Return a tensor of a call that torch runs: on the device, in the activations' dtype if it was floating."""
        if id(tensor) not in self._held:
            self._check_first_use()
            self._held[id(tensor)] = self._own(tensor, self.dtype if tensor.is_floating_point() else tensor.dtype)
        return self._held[id(tensor)]

    def module(self, module: nn.Module) -> nn.Module:
        """Return a module to run: itself, or a copy on the device in the activations' dtype if that differs."""
        if id(module) not in self._modules:
            self._check_first_use()
            tensors = (*module.parameters(), *module.buffers())
            there = all(t.device == self.device and t.dtype in (self.dtype, torch.int64) for t in tensors)
            self._modules[id(module)] = module if there else copy.deepcopy(module).to(self.device, self.dtype)
        return self._modules[id(module)]

    def constant(self, number: float, count: int) -> Tensor:
        """Return a float32 vector of one number."""
        if (number, count) not in self._constants:
            self._check_first_use()
            self._constants[number, count] = torch.full((count,), number, device=self.device)
        return self._constants[number, count]

    def vector(self, tensor: Tensor | None) -> Tensor | None:
        """Return a bias, scale or shift of the graph, float32 (K,), on the device."""
        if tensor is None:
            return None
        if id(tensor) not in self._vectors:
            self._check_first_use()
            self._vectors[id(tensor)] = self._own(tensor, tensor.dtype).contiguous()
        return self._vectors[id(tensor)]

    def packed(self, lib: Library, call: ConvCall, sizes: ConvShape, needs: ConvNeeds) -> Tensor:
        """Return the weights of a call in the packing of `needs`, uint8."""
        key = id(call.weight), needs.packing
        if key not in self._packed:
            self._check_first_use()
            extra = None if call.extra is None else call.extra.weight.to(self.device)
            weight = call.weight.to(self.device)
            memory = self._pages.take(needs.packed_bytes)
            self._packed[key] = pack(lib, sizes, needs, weight, extra, _native.exec_handle(weight), memory)
            self._release(call)
        return self._packed[key]

    def coded(self, lib: Library, call: ConvCall, sizes: ConvShape, x: Codes, extra: Codes | None) -> CodedWeights:
        """Return the weights of a call that computes in int8, for the codes of its inputs."""
        if id(call.weight) not in self._coded:
            self._check_first_use()
            self._coded[id(call.weight)] = coded_weights(lib, call, sizes, x, extra)
            self._release(call)
        return self._coded[id(call.weight)]

    def has(self, call: ConvCall, packing: int | None) -> bool:
        """Whether a call's weights are there, packed, or (None) as PyTorch takes them."""
        return id(call.weight) in self._plain if packing is None else (id(call.weight), packing) in self._packed

    def _own(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """On the device, and not a page of a file, which a kernel might find gone."""
        return tensor.to(self.device, dtype, copy=self.graph.file is not None)

    def _release(self, call: ConvCall) -> None:
        """Give back the weights of a call, which are packed now: those that are pages of a file."""
        if self.graph.file is not None:
            self.graph.file.release(call.weight, None if call.extra is None else call.extra.weight)

    def _check_first_use(self) -> None:
        self.graph.check_file()
        if self.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("a frozen network must be called once before a CUDA graph with it is captured")
