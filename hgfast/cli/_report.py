"""What a report of a mistake in a kernel needs: versions, cards, driver, switches, and what the cards' tables say."""

from __future__ import annotations

import os
import platform
from typing import Any

from hgfast import _kernel_table, _native, build_info

PREFIXES = ("HGFAST_", "CUDA_", "NVIDIA_", "TORCH_", "PYTORCH_", "OMP_")


def report() -> dict[str, Any]:
    """Return everything, as JSON has it. Of the environment only the variables that begin so."""
    import torch

    return {
        **build_info(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch_cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cards": [_card(index) for index in range(torch.cuda.device_count())],
        "driver": _kernel_table.driver_version(),
        "module": None if _native._cuda is None else _kernel_table.digest(_native._cuda.__file__),
        "allow_tf32": torch.backends.cudnn.allow_tf32,
        "environment": {key: value for key, value in sorted(os.environ.items()) if key.startswith(PREFIXES)},
        "wait_fault": "" if _native._cuda is None else _native._cuda.wait_fault(),
        "kernels": [_table(identity, findings) for identity, findings in _kernel_table.known_tables()],
    }


def _card(index: int) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gb": round(properties.total_memory / 2**30, 1),
    }


def _table(identity: dict[str, str], findings: dict[str, _kernel_table.Finding]) -> dict[str, Any]:
    """Say how much is known of a card's kernels, and what was wrong."""
    return {
        "identity": identity,
        "right": sum(finding.right is True for finding in findings.values()),
        "timed": sum(finding.time is not None for finding in findings.values()),
        "failures": {name: finding.why for name, finding in sorted(findings.items()) if finding.right is False},
    }
