"""Runs the op tests of all CUDA sources, and test_ptx, on their PTX: `python -m tests.ptx [pytest arguments]`.

`python -m tests.ptx --build [module ...]` only builds: all modules, or those that are named.

Two runs at a time, of the two architectures and the two schedules that differ most: Hopper's with asynchronous work as
late as the program allows; that of older cards with blocks and warps shuffled and copies at once.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.emulator.build import ROOT, emulator_environment
from tests.gates.sources import SOURCES
from tests.ptx.build import MODULES, build

OP_TESTS = tuple(sorted({source.tests.split(" ")[0] for source in SOURCES.values()}))
HOPPER_ONLY = (  # they name the kernels that are chosen there
    "--deselect=tests/test_bottleneck.py::test_choice",
    "--deselect=tests/test_conv_cuda.py::test_families_that_are_turned_off_are_not_chosen",
)


@dataclass(frozen=True)
class Run:
    """One pytest process. arch: the compute capability, times 10, of the card that is imitated."""

    arch: str
    schedule: str
    arguments: tuple[str, ...]


RUNS = {
    "op tests on sm_90a, lazy": Run("90", "forward,lazy", ("--device", "emulator", *OP_TESTS)),
    "op tests on sm_80, shuffled, eager": Run(
        "80", "shuffled,eager,2", ("--device", "emulator", *HOPPER_ONLY, *OP_TESTS)
    ),
    "wrappers of PTX on sm_90a, lazy": Run("90", "forward,lazy", ("tests/test_ptx.py",)),
    "wrappers of PTX on sm_90a, shuffled, eager": Run("90", "shuffled,eager,2", ("tests/test_ptx.py",)),
}


def run(name: str) -> tuple[str, int, float, str]:
    """One pytest run: its name, exit status, seconds, output."""
    wanted = RUNS[name]
    env = emulator_environment(
        HGFAST_EMULATOR_MODULE=str(build("_cuda.so")),
        HGFAST_PROBES_MODULE=str(build("probes.so")),
        HGFAST_EMULATOR_SCHEDULE=wanted.schedule,
        HGFAST_PTX_ARCH=wanted.arch,
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *wanted.arguments, *sys.argv[1:]]
    start = time.perf_counter()
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return name, result.returncode, time.perf_counter() - start, result.stdout + result.stderr


def main() -> int:
    """Build, run, report; 1 if any run fails."""
    start = time.perf_counter()
    only_builds = sys.argv[1:2] == ["--build"]
    for module in (only_builds and sys.argv[2:]) or MODULES:
        build(module)
    print(f"built in {time.perf_counter() - start:.0f} s", flush=True)
    if only_builds:
        return 0
    failed = False
    with ThreadPoolExecutor(2) as pool:
        for name, status, seconds, output in pool.map(run, RUNS):
            failed |= status != 0
            print(f"{name}: {'FAILED' if status else 'passed'} in {seconds:.0f} s", flush=True)
            if status:
                print(output, flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{used.ru_utime + used.ru_stime:.0f} s of processor time, at most {used.ru_maxrss / 1024:.0f} MB a process")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
