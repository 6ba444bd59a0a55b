"""What tensors say of where they are: methods and properties of `torch.Tensor` that know the fake devices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.fake_cuda.machine import Machine, index_of
from tests.fake_cuda.memory import Block
from tests.fake_cuda.streams import Stream

CPU = torch.device("cpu")
_device = torch._C.TensorBase.device.__get__


def replacements(machine: Machine) -> dict[str, Any]:
    """Attributes of torch.Tensor by name."""

    def block_of(tensor: Tensor) -> Block | None:
        return machine.memory.find(tensor) if _device(tensor) == CPU else None

    def device(tensor: Tensor) -> torch.device:
        block = block_of(tensor)
        return block.device if block is not None and block.device is not None else _device(tensor)

    def is_cuda(tensor: Tensor) -> bool:
        return device(tensor).type == "cuda"

    def get_device(tensor: Tensor) -> int:
        return device(tensor).index if is_cuda(tensor) else -1

    def to(tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            args = (device(args[0]), args[0].dtype, *args[1:])
        wanted, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if wanted is not None and wanted.type == "cuda":
            wanted = torch.device("cuda", index_of(wanted, machine))
        layout = {} if memory_format is None else {"memory_format": memory_format}
        if wanted is None or wanted == device(tensor):
            return _to(tensor, dtype=dtype or tensor.dtype, non_blocking=non_blocking, copy=copy, **layout)
        with machine.asked_to_move():
            return torch.ops.aten._to_copy(tensor, device=wanted, dtype=dtype, non_blocking=non_blocking, **layout)

    def new_tensor(tensor: Tensor, data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
        made = _new_tensor(tensor, data, dtype=dtype, **options)
        return to(made, tensor.device if device is None else device)

    def deepcopy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
        if not is_cuda(tensor) or id(tensor) in memo:
            return _deepcopy(tensor, memo)
        memo[id(tensor)] = made = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        return made

    def pin_memory(tensor: Tensor, device: Any = None) -> Tensor:
        if is_pinned(tensor):
            return tensor
        machine.unsafe("cudaHostAlloc")
        pinned = tensor.clone()
        machine.memory.place(pinned, None, None, "pin_memory")
        return pinned

    def is_pinned(tensor: Tensor, device: Any = None) -> bool:
        block = block_of(tensor)
        return block is not None and block.device is None

    def record_stream(tensor: Tensor, stream: Stream) -> None:
        block = block_of(tensor)
        assert block is not None and block.device is not None, "record_stream of a tensor that is on no device"
        block.recorded.add(stream.agent)

    def refused(name: str) -> Any:
        original = getattr(Tensor, name)

        def method(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if is_cuda(tensor):
                raise TypeError(f"can't convert {device(tensor)} device type tensor to numpy. Use Tensor.cpu()")
            if block_of(tensor) is not None:
                machine.touch(name, machine.memory.use(tensor, False))
            return original(tensor, *args, **kwargs)

        return method

    _to, _new_tensor, _deepcopy, tolist = Tensor.to, Tensor.new_tensor, Tensor.__deepcopy__, Tensor.tolist
    return {
        "device": property(device),
        "is_cuda": property(is_cuda),
        "is_cpu": property(lambda tensor: device(tensor).type == "cpu"),
        "get_device": get_device,
        "to": to,
        "cpu": lambda tensor: to(tensor, CPU),
        "cuda": lambda tensor, device="cuda", non_blocking=False: to(tensor, device, non_blocking=non_blocking),
        "new_tensor": new_tensor,
        "__deepcopy__": deepcopy,
        "pin_memory": pin_memory,
        "is_pinned": is_pinned,
        "record_stream": record_stream,
        "tolist": lambda tensor: tolist(to(tensor, CPU)),
        "numpy": refused("numpy"),
        "__array__": refused("__array__"),
    }
