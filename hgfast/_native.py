"""Loads the compiled kernels and says what they are: the only file that knows the extension modules.

Kernels take addresses, sizes and an `Exec` value, never tensors; `ptr`, `inout` and `out` give the address of a tensor
that a kernel reads, changes, or only writes. (The three are told apart for the host emulator, which replaces them to
hand kernels guarded copies.)
"""

from __future__ import annotations

import atexit
import ctypes
import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NewType, cast, overload

import torch

from hgfast import _switches

if TYPE_CHECKING:
    from hgfast._library import Library

DTYPE_CODES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.float64: 3}  # csrc/common/dtype.h: DType
NHWC, NCHW = 0, 1  # csrc/common/dtype.h: Layout
Address = NewType("Address", int)  # of a tensor's first number
ABSENT = Address(0)  # in place of a tensor's that there is not


def _load(name: str) -> tuple[Library | None, str]:
    try:
        module = __import__(f"hgfast.{name}", fromlist=[name])
    except ImportError as error:
        return None, str(error)
    return cast("Library", module), ""


def _build_record() -> dict[str, Any]:
    path = Path(__file__).with_name("_build.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


_cpu, _cpu_error = _load("_cpu")
if _cpu is None:
    raise ImportError(
        "hgfast's compiled kernels are missing. Install the package (`pip install .`) or build them in place "
        f"(`python setup.py build_ext --inplace`). Python says: {_cpu_error}"
    )
_cuda, _cuda_error = _load("_cuda")
if _cuda is not None:
    _switches.tell(_cuda)
    atexit.register(lambda: _tell_wait_fault(_libraries["cuda"]))
_libraries: dict[str, Library | None] = {"cpu": _cpu, "cuda": _cuda}


def _tell_wait_fault(cuda: Library | None) -> None:
    """PyTorch says of a kernel that gave up waiting only that its launch failed; this is what the kernel says."""
    if cuda is not None and (note := cuda.wait_fault()):
        print(f"hgfast: a CUDA kernel gave up: {note}. Please report it with `hgfast info`.", file=sys.stderr)


@overload
def library(device_type: Literal["cpu"]) -> Library: ...
@overload
def library(device_type: str) -> Library | None: ...
def library(device_type: str) -> Library | None:
    """Return the module with a device's kernels, "cpu" or "cuda" (the current one); None if there is none."""
    if device_type == "cuda" and cuda_missing_reason():
        return None
    return _libraries.get(device_type)


def cuda_missing_reason() -> str:
    """Why there are no CUDA kernels for the current device, in one line; empty if there are."""
    if _cuda is None:
        return _build_record().get("cuda_reason") or _cuda_error
    if not torch.cuda.is_available():
        return "there is no CUDA device that torch can use"
    return _device_refusal(torch.cuda.current_device())


@cache
def _device_refusal(index: int) -> str:
    """Why this driver or this card cannot run what was compiled; empty if it can."""
    assert _cuda is not None
    info = _cuda.backend_info()
    if info["driver"] != "ok":
        return f"the driver does not fit CUDA {info['nvcc']}, by which the kernels were compiled: {info['driver']}"
    major, minor = torch.cuda.get_device_capability(index)
    if runs_on(info["archs"], major, minor):
        return ""
    name = torch.cuda.get_device_name(index)
    return f"{name} has compute capability {major}.{minor}; the kernels were compiled for {info['archs']} and newer"


def driver_state(told: str) -> str:
    """Say what CUDA's runtime tells of the driver; where there is none, it complains of its version."""
    try:
        if told != "ok":
            ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver found"
    return told


def runs_on(archs: str, major: int, minor: int) -> bool:
    """Whether code for e.g. "80;90a", with PTX of the oldest number without a letter, runs on a compute capability."""
    capability = 10 * major + minor
    oldest = min((int(arch) for arch in archs.split(";") if arch.isdigit()), default=None)
    exact = (int(arch.rstrip("af")) for arch in archs.split(";"))
    return capability in exact or (oldest is not None and oldest <= capability)


def ptr(tensor: torch.Tensor | None) -> Address:
    """Return the address of a tensor that a kernel reads; 0 for None."""
    return ABSENT if tensor is None else tensor.data_ptr()  # type: ignore[return-value] # nothing to call


def inout(tensor: torch.Tensor | None) -> Address:
    """Return the address of a tensor that a kernel reads and writes; 0 for None."""
    return ABSENT if tensor is None else tensor.data_ptr()  # type: ignore[return-value] # nothing to call


def out(tensor: torch.Tensor | None) -> Address:
    """Return the address of a tensor that a kernel writes without reading; 0 for None."""
    return ABSENT if tensor is None else tensor.data_ptr()  # type: ignore[return-value] # nothing to call


def on_cuda(tensor: torch.Tensor) -> bool:
    """Whether this tensor's kernel is a CUDA kernel; what an op's `supports` asks (the emulator says yes)."""
    return tensor.is_cuda


def exec_handle(tensor: torch.Tensor) -> int:
    """Return the Exec value for this tensor's device: the current CUDA stream, or torch's CPU thread count."""
    if tensor.is_cuda:
        return torch._C._cuda_getCurrentRawStream(tensor.get_device())
    return torch.get_num_threads()


def layout_of(tensor: torch.Tensor) -> int | None:
    """NHWC if the (N, C, H, W) tensor is dense in channels_last order, NCHW if contiguous, None if neither.

    A tensor that is both (C = 1 or H = W = 1) counts as NHWC.
    """
    if tensor.is_contiguous(memory_format=torch.channels_last):
        return NHWC
    return NCHW if tensor.is_contiguous() else None
