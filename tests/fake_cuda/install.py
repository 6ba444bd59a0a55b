"""Puts the fake devices in the place of `torch.cuda`, and takes them away again."""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Iterator
from typing import Any

import torch

from hgfast import _kernel_table, _native, _switches, constants
from hgfast.ops import _tickets
from tests.fake_cuda import library, tensors
from tests.fake_cuda.dispatch import Operators
from tests.fake_cuda.graphs import CUDAGraph
from tests.fake_cuda.machine import Fault, Machine, index_of
from tests.fake_cuda.streams import Event, Stream

CAPABILITY, NAME, MEMORY = (9, 0), "Fake H100", 80 << 30
_autocast, _tensor = torch.autocast, torch.tensor


class Autocast(contextlib.ExitStack):
    """torch.autocast: operators on a fake device's tensors are those of the CPU, whose autocast they follow."""

    def __init__(self, device_type: str, dtype: torch.dtype | None = None, **options: Any) -> None:
        super().__init__()
        self.kinds = ("cpu", "cuda") if device_type == "cuda" else (device_type,)
        self.dtype = dtype or torch.get_autocast_dtype(device_type)
        self.options = options

    def __enter__(self) -> Autocast:
        for kind in self.kinds:
            self.enter_context(_autocast(kind, self.dtype, **self.options))
        return self


class Generator(torch.Generator):
    """torch.Generator: random numbers of a fake device are the CPU's."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        return super().__new__(cls)


def _cuda(machine: Machine) -> dict[str, Any]:
    """Attributes of torch.cuda."""

    def synchronize(device: Any = None) -> None:
        machine.unsafe("cudaDeviceSynchronize")
        index = index_of(device, machine)
        for stream in machine.streams:
            if stream.device_index == index:
                machine.wait(stream.clock, "synchronize")

    def exchange(index: int) -> int:
        before = machine.device
        if index >= 0:
            machine.device = index
        return before

    properties = types.SimpleNamespace(
        name=NAME, major=9, minor=0, multi_processor_count=132, total_memory=MEMORY, L2_cache_size=50 << 20,
        shared_memory_per_block_optin=232448,
    )  # fmt: skip
    memory = machine.memory
    return {
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": CUDAGraph,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: machine.devices,
        "current_device": lambda: machine.device,
        "set_device": lambda device: setattr(machine, "device", index_of(device, machine)),
        "_exchange_device": exchange,
        "_maybe_exchange_device": exchange,
        "current_stream": lambda device=None: machine.current(index_of(device, machine)),
        "default_stream": lambda device=None: machine.streams[index_of(device, machine)],
        "set_stream": lambda stream: stream is not None and machine.choose(stream),
        "synchronize": synchronize,
        "is_current_stream_capturing": lambda: machine.current(machine.device).capture is not None,
        "empty_cache": lambda: None,
        "get_device_capability": lambda device=None: CAPABILITY,
        "get_device_name": lambda device=None: NAME,
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda including_emulation=True: True,
        "memory_allocated": lambda device=None: memory.held[index_of(device, machine)],
        "max_memory_allocated": lambda device=None: memory.peak[index_of(device, machine)],
        "reset_peak_memory_stats": lambda device=None: memory.peak.update(memory.held),
        "get_rng_state_all": lambda: [generator.get_state() for generator in machine.generators],
        "set_rng_state_all": lambda states: [g.set_state(s) for g, s in zip(machine.generators, states, strict=True)],
    }


def _accelerator(machine: Machine) -> dict[str, Any]:
    """Attributes of torch.accelerator."""
    return {
        "is_available": lambda: True,
        "current_accelerator": lambda check_available=False: torch.device("cuda"),
        "current_stream": lambda device=None: machine.current(index_of(device, machine)),
        "current_device_index": lambda: machine.device,
        "set_device_index": lambda device: setattr(machine, "device", index_of(device, machine)),
    }


def _raw(machine: Machine) -> dict[str, Any]:
    """Attributes of torch._C that PyTorch's own Python code asks."""
    grouped, modes = torch._C._group_tensors_by_device_and_dtype, torch._C._len_torch_dispatch_stack

    def by_device(tensors: Any, with_indices: bool) -> Any:
        return {(_first(group).device, key[1]): group for key, group in grouped(tensors, with_indices).items()}

    return {
        "_cuda_getCurrentRawStream": lambda index: machine.current(index).cuda_stream,
        "_host_emptyCache": lambda: None,
        "_len_torch_dispatch_stack": lambda: max(0, modes() - 1),  # Operators is none that anybody should see
        "_group_tensors_by_device_and_dtype": by_device,
    }


def _first(group: Any) -> torch.Tensor:
    return next(tensor for tensors in group[0] for tensor in tensors if tensor is not None)


def _made(data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> torch.Tensor:
    tensor = _tensor(data, dtype=dtype, **options)
    return tensor if device is None else tensor.to(device)


@contextlib.contextmanager
def fake_cuda(devices: int = 2, verify: bool = False, tune: str = "0") -> Iterator[Machine]:
    """Within it there are so many GPUs.

    Args:
        devices: how many.
        verify: whether frozen networks try their kernels first, as they do on a GPU.
        tune: as HGFAST_TUNE says: whether they time them, too.

    Raises:
        Fault: at the end, if some were found and not told yet (memory that was freed too early).
    """
    machine, wanted = Machine(devices), {_switches.VERIFY}
    run = threading.Thread.run

    def run_thread(thread: threading.Thread) -> None:
        with Operators(machine):
            run(thread)

    for kind in (Stream, Event, CUDAGraph):
        kind.machine = machine
    for index in range(devices):
        Stream(index)
    _forget()
    with contextlib.ExitStack() as undo:
        for target, attributes in (
            (torch.cuda, _cuda(machine)),
            (torch.cuda.graphs, {"graph_pool_handle": lambda: (0, 0)}),
            (torch._C, _raw(machine)),
            (torch.accelerator, _accelerator(machine)),
            (torch, {"autocast": Autocast, "tensor": _made, "Generator": Generator}),
            (torch.Tensor, tensors.replacements(machine)),
            (threading.Thread, {"run": run_thread}),
            (_native, library.replacements(machine)),
            (_switches, {"disabled": _switches.disabled - wanted if verify else _switches.disabled | wanted}),
            (_switches, {"tune": tune}),
            (_kernel_table, {"_tables": {}}),
            (_tickets, {"_of_stream": {}, "_of_capture": {}}),
        ):
            for name, value in attributes.items():
                undo.callback(_set(target, name, value))
        undo.enter_context(Operators(machine))
        yield machine
    _forget()
    if machine.faults:
        raise Fault("; ".join(machine.faults))


def _forget() -> None:
    """What is kept of devices from call to call."""
    torch.cuda.graph.default_capture_stream = None
    _native._device_refusal.cache_clear()
    constants.forget()


def _set(target: Any, name: str, value: Any) -> Any:
    """Set an attribute; returns what brings back the one before."""
    own = name in vars(target)
    before = vars(target).get(name)
    setattr(target, name, value)
    return lambda: setattr(target, name, before) if own else delattr(target, name)
