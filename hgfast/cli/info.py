"""``hgfast info``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from hgfast import build_info
from hgfast.cli._report import report
from hgfast.files import write_json


def run(options: argparse.Namespace) -> None:
    """Print what was built, or the report."""
    if options.report is not None:
        if options.report == "-":
            print(json.dumps(report(), indent=2))
        else:
            write_json(options.report, report(), indent=2)
        return
    info = build_info()
    print(json.dumps(info, indent=2) if options.json else "\n".join(describe(info)))


def describe(info: dict[str, Any]) -> list[str]:
    """Return the lines of text for a result of :func:`hgfast.build_info`."""
    import torch

    cpu, cuda = info["cpu"], info["cuda"]
    lines = [
        f"hgfast {info['version']}, torch {info['torch']}",
        f"CPU    {cpu['isa']} kernels in use (compiled: {', '.join(cpu['compiled_isas'])}), "
        f"{torch.get_num_threads()} threads, compiler {cpu['compiler']}",
    ]
    if cuda["compiled"]:
        details = [f"{name.replace('_', ' ')}: {value}" for name, value in cuda.items() if name != "compiled" and value]
        lines += [f"CUDA   kernels compiled; {'; '.join(details)}"]
        lines += [f"GPU    {_gpus()}"]
    else:
        lines += [f"CUDA   kernels not compiled: {cuda['reason']}"]
    if info["disabled"]:
        lines += [f"OFF    by HGFAST_DISABLE: {', '.join(info['disabled'])}"]
    width = max(len(name) for name in info["ops"])
    lines += ["", f"{'operation'.ljust(width)}  kernels for"]
    lines += [
        f"{name.ljust(width)}  {', '.join(devices) or 'none (plain PyTorch)'}" for name, devices in info["ops"].items()
    ]
    return lines


def _gpus() -> str:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(names) or "none that torch can use; CUDA kernels stay idle"
