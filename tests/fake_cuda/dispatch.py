"""Every operator of PyTorch, below autograd: what it does to which memory, and on which stream."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hgfast.ops import _registry
from tests.fake_cuda.copies import COPIES, ends, transfer
from tests.fake_cuda.machine import Machine
from tests.fake_cuda.memory import Use, poison
from tests.fake_cuda.recorded import all_tensors, arguments, outputs_by_shape, outputs_without_running, replay_of
from tests.fake_cuda.streams import Stream

EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
WAITS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "is_nonzero"}
"""Operators whose answer the host needs."""
TAKES_HOST_INDICES = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Operators(TorchDispatchMode):
    """Runs them on the fake devices. A thread needs one of its own."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """The other answer would import PyTorch's compiler, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if is_made_of_others(func):  # in inference mode operators made of others come here whole
            with self:
                return func.decompose(*args, **kwargs)
        name, tensors = func.overloadpacket.__name__, list(all_tensors((args, kwargs)))
        if name in COPIES and len(set(ends(self.machine, args, kwargs))) > 1:
            return transfer(self.machine, func, args, kwargs)
        wanted = None if name == "_to_copy" else kwargs.get("device")  # these stay where they are
        place = self._place(name, tensors, wanted)
        if func.namespace == "hgfast" and place is not None:
            with self:
                return _registry._cuda_impl(_registry.OPS[name])(*args, **kwargs)
        if place is None:
            self._by_host(func, args, kwargs)
            return func(*args, **kwargs)
        if "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("cpu"), "pin_memory": False}
        return self._kernel(place, name, func, args, kwargs)

    def _place(self, name: str, tensors: list[Tensor], wanted: torch.device | None) -> Stream | None:
        """The stream on which an operator runs; None for the host's.

        Raises:
            RuntimeError: tensors of several devices.
        """
        if wanted is not None and wanted.type != "cuda":
            return None
        found = {tensor.device for tensor in tensors if tensor.dim() or tensor.is_cuda}
        if wanted is not None and wanted.type == "cuda":
            found = {torch.device("cuda", self.machine.device if wanted.index is None else wanted.index)}
        if name in TAKES_HOST_INDICES and tensors:
            found = {tensors[0].device}
        if len(found) > 1:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found {found} in {name}")
        found = {device for device in found if device.type == "cuda"}
        return self.machine.current(next(iter(found)).index) if found else None

    def _kernel(self, stream: Stream, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if func.is_view or name in ("detach", "alias", "set_", "lift_fresh"):
            return func(*args, **kwargs)
        if stream.capture is not None and name in WAITS:
            stream.capture.lose(name)
        if stream.capture is not None and name not in EMPTY:
            result = outputs_without_running(func, args, kwargs)
        elif name in self.machine.idle:
            result = outputs_by_shape(func, args, kwargs, self.machine.outputs)
        else:
            result = func(*args, **kwargs)
        known = {id(tensor) for tensor in all_tensors((args, kwargs))}
        made = [tensor for tensor in all_tensors(result) if id(tensor) not in known]
        fresh = [tensor for tensor in made if tensor.untyped_storage().device.type == "cpu"]  # not those without data
        for tensor in fresh:
            if self.machine.memory.find(tensor) is None:
                self.machine.memory.place(tensor, stream.device, stream, name)
        if name in EMPTY:
            for tensor in fresh:
                poison(tensor)
            return result
        uses = self._uses(func, args, kwargs, fresh)
        if stream.capture is not None:
            stream.capture.add(stream, name, uses, replay_of(self.machine, func, args, kwargs, result))
            return result
        self.machine.launch(stream, name, uses)
        if name in WAITS:
            self.machine.wait(stream.clock, name)
        return result

    def _uses(self, func: Any, args: Any, kwargs: Any, fresh: list[Tensor]) -> list[Use]:
        uses = [use for tensor in fresh for use in self.machine.memory.use(tensor, True)]
        for tensor, written in arguments(func, args, kwargs):
            uses += self.machine.memory.use(tensor, written)
        return uses

    def _by_host(self, func: Any, args: Any, kwargs: Any) -> None:
        """The host's own work counts where it meets memory of which devices know: pinned memory."""
        if not func.is_view and func.overloadpacket.__name__ not in EMPTY:
            uses = [use for t, written in arguments(func, args, kwargs) for use in self.machine.memory.use(t, written)]
            if uses:
                self.machine.touch(func.overloadpacket.__name__, uses)


@functools.cache
def is_made_of_others(func: Any) -> bool:
    return func._can_decompose()
