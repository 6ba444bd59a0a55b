"""Checks of the options that :func:`hgfast.freeze` and :class:`hgfast.FrozenModel` share."""

from __future__ import annotations

from typing import Any

import torch

from hgfast import _checks as checks

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def as_dtype(where: str, dtype: Any, allowed: tuple[torch.dtype, ...] = DTYPES, on: str = "") -> torch.dtype:
    """Return one of these dtypes; `on`: for the message, the kind of device that allows no others.

    Raises:
        TypeError, ValueError: anything else.
    """
    checks.instance(where, "dtype", dtype, torch.dtype)
    if dtype not in allowed:
        names = ", ".join(map(str, allowed))
        raise ValueError(f"{where}: dtype must be one of {names}{f' on {on}' if on else ''}, got {dtype}")
    return dtype


def as_frozen_dtype(where: str, dtype: Any, device: torch.device, quantised: bool) -> torch.dtype:
    """Return the dtype of a frozen network; int8 on the CPU, for a graph that says how.

    Raises:
        TypeError, ValueError: anything else.
    """
    if dtype is not torch.int8:
        return as_dtype(where, dtype)
    if device.type != "cpu":
        raise ValueError(f"{where}: dtype must not be torch.int8 on {device}: only the CPU has kernels for it")
    if not quantised:
        raise ValueError(
            f"{where}: dtype must not be torch.int8 for a network that was not frozen in it: freeze the model with "
            "dtype=torch.int8 and calibration=images"
        )
    return torch.int8


def as_device(where: str, device: Any) -> torch.device:
    """Return a device that frozen networks run on; a plain "cuda" is the device that is current now.

    Raises:
        TypeError, ValueError: anything else.
    """
    checks.instance(where, "device", device, torch.device, str)
    try:
        found = torch.device(device)
    except RuntimeError:
        found = torch.device("meta")
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"{where}: device must be 'cpu', 'cuda' or 'cuda:N', got {str(device)[:60]!r}")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{where}: device must be 'cpu' where torch finds no CUDA device, got {str(device)[:60]!r}")
    if found.type == "cuda" and (found.index or 0) >= (count := torch.cuda.device_count()):
        raise ValueError(f"{where}: device must be 'cuda:{count - 1}' at most, got {str(device)[:60]!r}")
    return with_index(found)


def with_index(device: torch.device) -> torch.device:
    """Give a plain "cuda" the number of the device that is current now; there is only one CPU."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return torch.device(device.type)
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def check_cuda_graph(where: str, cuda_graph: Any, batch_sizes: Any, device: torch.device) -> tuple[int, ...] | None:
    """Return the batch sizes that get a CUDA graph; None for all that occur.

    Raises:
        TypeError, ValueError: cuda_graph is no flag, or set where there is no CUDA; batch_sizes are no positive ints.
    """
    if checks.flag(where, "cuda_graph", cuda_graph) and device.type != "cuda":
        raise ValueError(f"{where}: cuda_graph needs a model on CUDA, got {device}")
    return None if batch_sizes is None else tuple(checks.integers(where, "batch_sizes", batch_sizes, minimum=1))
