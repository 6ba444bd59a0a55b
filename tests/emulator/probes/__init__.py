"""Small kernels that are called by name: they show what one instruction does, or break one rule of the emulator.

On a machine with a GPU `Probes("cuda")` compiles the same files with nvcc, to hold the emulator against the hardware.
"""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
from pathlib import Path
from typing import Any

import torch

from tests.emulator.build import HERE, PROBES_FOR_NVCC, ROOT, build, load_setup
from tests.emulator.device import default_schedule, default_variant
from tests.emulator.memory import READ, READ_WRITE, WRITE, Address, Device, EmulatorError


def read(tensor: torch.Tensor) -> Address:
    """An argument that the kernel only reads."""
    return Address(tensor, READ)


def write(tensor: torch.Tensor) -> Address:
    """An argument that the kernel only writes."""
    return Address(tensor, WRITE)


def update(tensor: torch.Tensor) -> Address:
    """An argument that the kernel reads and writes."""
    return Address(tensor, READ_WRITE)


def build_for_gpu() -> Path:
    """The probes of instructions, for the GPU in this machine."""
    setup = load_setup()
    out = HERE / "build" / "gpu" / "probes.so"
    out.parent.mkdir(parents=True, exist_ok=True)
    major, minor = torch.cuda.get_device_capability()
    arch = f"{major}{minor}" + ("a" if major == 9 else "")
    command = [
        setup.cuda_compiler.find_nvcc_command(),
        "-shared",
        "-std=c++17",
        "-O3",
        "-DNDEBUG",
        "--expt-relaxed-constexpr",
    ]
    command += [
        "-Xcompiler=-fPIC",
        f"-I{ROOT / 'csrc'}",
        f"-gencode=arch=compute_{arch},code=sm_{arch}",
        "-o",
        str(out),
    ]
    subprocess.run(command + [str(HERE / "probes" / name) for name in PROBES_FOR_NVCC], check=True)
    return out


class Probes:
    """The kernels of one build: probes.run("mma_half", read(a), read(b), update(d))."""

    def __init__(self, device: str, variant: str) -> None:
        """device: "emulator" or "cuda"; variant: of the emulator."""
        if device == "emulator":  # $HGFAST_PROBES_MODULE: another build, such as that of tests/ptx
            path = Path(os.environ.get("HGFAST_PROBES_MODULE") or build(variant, "probes.so"))
        else:
            path = build_for_gpu()
        self.library = ctypes.CDLL(str(path))
        self.library.probe_last_error.restype = ctypes.c_char_p
        self.emulated = Device(path) if device == "emulator" else None

    def run(self, name: str, *args: Any) -> None:
        """Launch a probe. Arguments: read/write/update(tensor), None, int, or a list of ints (on the host).

        Raises:
            EmulatorError or RuntimeError: the kernel failed.
        """
        pointers = [index for index, arg in enumerate(args) if isinstance(arg, Address)]

        def call(*moved: Any) -> None:
            if getattr(self.library, f"probe_{name}")(
                *(ctypes.c_void_p(arg) if index in pointers else _host(arg) for index, arg in enumerate(moved))
            ):
                raise RuntimeError(self.library.probe_last_error().decode())

        if self.emulated is None:
            call(*args)
        else:
            self.emulated.call(call, args, name)


def _host(arg: Any) -> Any:
    if arg is None:
        return ctypes.c_void_p(0)
    return (ctypes.c_int * len(arg))(*arg) if isinstance(arg, list) else ctypes.c_int(arg)


@functools.cache
def _probes(device: str, variant: str) -> Probes:
    return Probes(device, variant)


def probes(device: str, variant: str | None = None) -> Probes:
    """The probes of one build, built once. Default variant: as for ops, $HGFAST_EMULATOR_VARIANT or "fast"."""
    found = _probes(device, variant or default_variant())
    if found.emulated is not None:
        found.emulated.schedule(**default_schedule())
    return found


__all__ = ["EmulatorError", "Probes", "probes", "read", "update", "write"]
