"""The report on what was built; it stands above the operations, which it lists."""

from __future__ import annotations

from typing import Any

import torch

from hgfast import __version__, _native, _switches
from hgfast.ops._registry import OPS


def build_info() -> dict[str, Any]:
    """Say what was built, and what of it this machine can run.

    Returns:
        dict with "version", "torch", "cpu" (instruction set in use and compiled ones, compiler, OpenMP runtime), "cuda"
        (compiled or not, architectures, nvcc, devices, driver state or the reason why it is missing, why the current
        device cannot run it), "ops": for each op the devices that have a kernel, and "disabled": what HGFAST_DISABLE
        names.
    """
    cpu, compiled = _native.library("cpu"), _native._cuda
    assert cpu is not None
    cuda: dict[str, Any] = {"compiled": compiled is not None}
    if compiled is not None:
        cuda.update(compiled.backend_info())
        cuda["driver"] = _native.driver_state(cuda["driver"])
        cuda["unusable"] = _native.cuda_missing_reason()
    else:
        cuda["reason"] = _native.cuda_missing_reason()
    ops = {
        name: [device for device, lib in _native._libraries.items() if lib is not None and hasattr(lib, op.native)]
        for name, op in sorted(OPS.items())
    }
    disabled = sorted(_switches.disabled)
    info = {"version": __version__, "torch": torch.__version__, "cpu": cpu.backend_info(), "cuda": cuda, "ops": ops}
    return {**info, "disabled": disabled}
