"""Every case of every bench file in one interleaved run, as a table with ratios.

python -m benchmarks.table [--only upsample_add] [--device cpu] [--budget 1.0]
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import OURS, Case, Timing, bench_devices, cpu_threads, rates, time_interleaved


def all_cases() -> list[Case]:
    """The cases of all bench_*.py files, in file order."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    return [case for name in names for case in importlib.import_module(f"benchmarks.{name}").CASES]


def measure(case: Case, device: str, budget: float) -> dict[str, Timing]:
    """One interleaved run of a case's peers."""
    with cpu_threads(case.threads):
        return time_interleaved(case.make(device), device, budget, settle=case.settle)


def rows(case: Case, timings: dict[str, Timing]) -> Iterator[str]:
    """Lines of the table: median, best, rates, and how many times longer a peer takes than hgfast."""
    ours = timings[OURS].median
    for name, timing in timings.items():
        speed = "  ".join(f"{value:8.1f} {unit}" for unit, value in rates(case, timing.best).items())
        ratio = "" if name == OURS else f"{timing.median / ours:6.2f}x"
        yield f"  {name:<28}{timing.median * 1e3:10.3f} ms  (best {timing.best * 1e3:9.3f})  {ratio:>8}  {speed}"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: all there are")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for each case")
    options = parser.parse_args(arguments)
    devices = [options.device] if options.device else bench_devices()
    wanted = [(device, case) for device in devices for case in all_cases() if device in case.devices]
    wanted = [(device, case) for device, case in wanted if options.only in case.name]
    if not wanted:
        parser.error(f"--only: no case for {' or '.join(devices)} has a name that contains {options.only!r}")
    for device, case in wanted:
        threads = f", {case.threads} thread(s)" if case.threads and device == "cpu" else ""
        print(f"{case.name} [{device}{threads}]   peer time / hgfast time", flush=True)
        for line in rows(case, measure(case, device, options.budget)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
