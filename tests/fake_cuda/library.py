"""`hgfast._cuda` on the fake devices: the CPU's kernels, told apart by streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from hgfast import _native
from tests.fake_cuda import kernels
from tests.fake_cuda.machine import Machine
from tests.fake_cuda.memory import Use
from tests.fake_cuda.streams import Stream

LAUNCHED = ("conv_pack", "conv", "bottleneck")
ANSWERS = ("conv_query", "conv_candidates", "bottleneck_query", "bottleneck_candidates")
OWN = {name: getattr(kernels, name) for name in (*LAUNCHED, *ANSWERS)}


class Address(int):
    """What ptr, inout and out give: a tensor's address, and what a kernel does with it."""

    tensor: Tensor
    write: bool


def address_of(tensor: Tensor | None, write: bool) -> int:
    """0 for None."""
    if tensor is None:
        return 0
    address = Address(tensor.data_ptr())
    address.tensor, address.write = tensor, write
    return address


class Library:
    """The extension module's functions."""

    ConvShape = kernels.ConvShape

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.driver, self.families = "ok", {}
        self.__file__ = kernels.__file__

    def backend_info(self) -> dict[str, Any]:
        return {"archs": "80;90a", "nvcc": "13.0.88", "driver": self.driver, "devices": self.machine.devices}

    def current_device(self) -> Any:
        return kernels.DEVICE

    def capture_id(self, stream: int) -> int:
        """0 where nothing is captured on the current stream."""
        capture = self.machine.current(self.machine.device).capture
        return 0 if capture is None else capture.number

    def batch_norm_sizes(self, *shape: int) -> tuple[int, ...]:
        """With tickets, which the CPU's kernels do not read."""
        return *_native._cpu.batch_norm_sizes(*shape)[:2], 3  # type: ignore[union-attr]

    def switch_family(self, name: str, on: bool) -> None:
        self.families[name] = on

    def wait_fault(self) -> str:
        return ""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = OWN.get(name) or getattr(_native._cpu, name)
        if name in ANSWERS:  # which launch nothing
            return function
        return lambda *arguments: self._launch(name, function, arguments)

    def _launch(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        machine, memory = self.machine, self.machine.memory
        stream = self._stream(name, arguments)
        given = [argument for argument in arguments if isinstance(argument, Address)]
        for argument in given:
            if argument.tensor.numel() and memory.find(argument.tensor) is None:
                machine.fault(f"{name} on {stream.name} is given memory of the host")
            if argument.tensor.numel() and argument.tensor.device != stream.device:
                machine.fault(f"{name} on {stream.name} is given memory of {argument.tensor.device}")
        uses: list[Use] = [use for argument in given for use in memory.use(argument.tensor, argument.write)]
        plain = [int(argument) if isinstance(argument, Address) else argument for argument in arguments[:-1]]
        call = adapted(name, function, plain)
        if stream.capture is not None:
            stream.capture.add(stream, name, uses, call)
            return
        machine.launch(stream, name, uses)
        call()

    def _stream(self, name: str, arguments: tuple[Any, ...]) -> Stream:
        """The stream that the last argument names: the runtime looks for it on the thread's current device."""
        stream = self.machine.current(self.machine.device)
        if arguments[-1] != stream.cuda_stream:
            self.machine.fault(f"{name} is launched on stream {arguments[-1]}, while the current one is {stream.name}")
        return stream


def adapted(name: str, function: Callable[..., Any], arguments: list[Any]) -> Callable[[], None]:
    """The call; the CPU's kernels are given one thread, and what workspace they need beyond those of CUDA."""

    def run() -> None:
        with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
            given = list(arguments)
            if name == "keypoint_mse" and given[3]:
                n, k, h, w = given[-4:]
                axes = torch.empty(n * k * (w + h + 1))
                given[7] = axes.data_ptr()
            function(*given, 1)

    return run


def replacements(machine: Machine) -> dict[str, Any]:
    """Attributes of hgfast._native by name."""
    library = Library(machine)
    return {
        "_cuda": library,
        "_libraries": {"cpu": _native._cpu, "cuda": library},
        "ptr": lambda tensor: address_of(tensor, False),
        "inout": lambda tensor: address_of(tensor, True),
        "out": lambda tensor: address_of(tensor, True),
    }
