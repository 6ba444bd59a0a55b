"""What the machine is: the card as found, the driver, the versions. Reads only; changes no setting."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

CLOCK_FIELDS = (
    "pstate",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.max.mem",
    "power.limit",
    "temperature.gpu",
)


def query_card(*fields: str) -> dict[str, str]:
    """Ask nvidia-smi for fields of the first card, as it prints them; empty where there is no nvidia-smi.

    It comes with every driver. nvidia-ml-py would be one more package, with a function and units of its own for each
    field, beside this query for where it is missing.
    """
    command = shutil.which("nvidia-smi")
    if command is None:
        return {}
    arguments = [command, f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "--id=0"]
    try:
        output = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = output.strip().splitlines()
    return dict(zip(fields, map(str.strip, lines[0].split(",")), strict=False)) if lines else {}


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def host() -> dict[str, Any]:
    """Processor and versions."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "system": platform.platform(),
    }


def card() -> dict[str, Any]:
    """The current CUDA device."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "memory_gb": round(properties.total_memory / 2**30, 1),
        "l2_mb": round(getattr(properties, "L2_cache_size", 0) / 2**20, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": query_card("driver_version").get("driver_version"),
        "clocks_as_found": query_card(*CLOCK_FIELDS),
    }


def describe(device: str) -> dict[str, Any]:
    """All of it.

    Raises:
        RuntimeError: a CUDA run was asked for and torch finds no GPU.
    """
    if device == "cpu":
        return {"kind": "cpu", "name": cpu_name(), **host()}
    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device; `--device cpu` rehearses the run on the CPU")
    return {"kind": "cuda", **host(), **card()}
