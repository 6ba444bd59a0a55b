"""Measures the peers of one case and lists the cases there are."""

from __future__ import annotations

import gc
import importlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.device import timing
from benchmarks.harness import Call, Case, cpu_threads, synchronize, time_interleaved

NETWORK_FILES = ("bench_model", "bench_train", "networks")
FOLDER = Path(__file__).parents[1]


def case_files() -> list[str]:
    """Modules with cases: bench_<row>.py, and networks.py for what only a card is asked for."""
    return sorted(path.stem for path in FOLDER.glob("bench_*.py")) + ["networks"] * (FOLDER / "networks.py").exists()


def load_cases(file: str) -> dict[str, Case]:
    """The cases of a module by name."""
    return {case.name: case for case in importlib.import_module(f"benchmarks.{file}").CASES}


def list_cases(device: str) -> dict[str, Any]:
    """{"cases": [{file, case, stage, peers, ...}], "errors": {file: why it cannot be imported}}.

    The first case of each file comes first: a run that is cut short has measured something of every op.
    """
    by_file: dict[str, list[Case]] = {}
    errors = {}
    for file in case_files():
        try:
            by_file[file] = [case for case in load_cases(file).values() if device in case.devices]
        except Exception as error:
            traceback.print_exc()
            errors[file] = f"{type(error).__name__}: {error}"[:300]
    longest = max(map(len, by_file.values()), default=0)
    cases = [
        {
            "file": file,
            "case": listed[i].name,
            "stage": "networks" if file in NETWORK_FILES else "bench",
            "peers": list(listed[i].peers),
            "bytes": listed[i].bytes,
            "flops": listed[i].flops,
            "arithmetic": listed[i].arithmetic,
        }
        for i in range(longest)
        for file, listed in by_file.items()
        if i < len(listed)
    ]
    return {"cases": cases, "errors": errors}


def ready_calls(
    case: Case, device: str, peers: Sequence[str], emit: Callable[[Any], None]
) -> tuple[dict[str, Call], dict[str, dict[str, Any]]]:
    """The chosen peers' calls, each run once; a peer that fails is left out and reported."""
    calls, memory = {}, {}
    made = case.make(device)
    for peer in peers:
        try:
            made[peer]()
            synchronize(device)
            memory[peer] = timing.peak_memory(made[peer]) if device == "cuda" else {}
            calls[peer] = made[peer]
        except Exception as error:
            if device == "cuda" and "CUDA error" in str(error):
                raise  # the context may be lost; the parent tries the other peers in a new process
            traceback.print_exc()
            emit({peer: {"status": "error", "note": f"{type(error).__name__}: {error}"[:300]}})
    return calls, memory


def forget_earlier_cases(device: str) -> None:
    """Free what earlier cases of this process hold: compiled functions, and the device's memory."""
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def measure_case(
    device: str, emit: Callable[[Any], None], file: str, case: str, peers: Sequence[str], seconds: float
) -> None:
    """Time the peers of a case, interleaved, for about `seconds`; emits {peer: Measured} (record.py) as it goes."""
    chosen = load_cases(file)[case]
    forget_earlier_cases(device)
    with cpu_threads(chosen.threads):
        calls, measured = ready_calls(chosen, device, peers, emit)
        times = time_interleaved(calls, device, seconds if device == "cpu" else seconds / 2)
        for peer, timed in times.items():
            measured[peer] |= {"status": "ok", "clock" if device == "cpu" else "warm": timing.summary(timed)}
        emit(measured)
        if device == "cpu" or not calls:
            return
        cold = timing.ColdTimer()
        for peer, call in calls.items():
            warm = times[peer].median
            capture = "autotune" not in peer  # torch.compile's max-autotune replays CUDA graphs of its own
            measured[peer] |= timing.graph_and_cold(call, warm, seconds / 2 / len(calls), cold, capture)
            emit({peer: measured[peer]})
