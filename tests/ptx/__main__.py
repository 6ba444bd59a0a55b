"""Runs the tests of all CUDA sources and of the PTX wrappers on their PTX: `python -m tests.ptx [pytest arguments]`.

`python -m tests.ptx --build [module ...]` only builds: all modules, or those that are named. A whole run that passed is
recorded in passed.txt with the digest of what it ran, to be committed with it; `--if-new`, as CI calls it, runs only if
kernels, interpreter or tests are not those of the record.

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

from tests import records
from tests.emulator.build import ROOT, emulator_environment
from tests.gates.sources import SOURCES
from tests.ptx.build import MODULES, WRAPPER_TESTS, build

RECORD = ROOT / "tests" / "ptx" / "passed.txt"
SUFFIXES = (".py", ".cpp", ".h", ".cu", ".cuh")
OP_TESTS = tuple(sorted({source.tests.split(" ")[0] for source in SOURCES.values()}))
HOPPER_ONLY = (  # they name the kernels that are chosen there
    "--deselect=tests/test_bottleneck.py::test_choice",
    "--deselect=tests/test_conv_cuda_calls.py::test_families_that_are_turned_off_are_not_chosen",
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
    "wrappers of PTX on sm_90a, lazy": Run("90", "forward,lazy", WRAPPER_TESTS),
    "wrappers of PTX on sm_90a, shuffled, eager": Run("90", "shuffled,eager,2", WRAPPER_TESTS),
}


def run(name: str, arguments: list[str]) -> tuple[int, float, str]:
    """One pytest run: its exit status, seconds, output."""
    wanted = RUNS[name]
    env = emulator_environment(
        HGFAST_EMULATOR_MODULE=str(build("_cuda.so")),
        HGFAST_PROBES_MODULE=str(build("probes.so")),
        HGFAST_EMULATOR_SCHEDULE=wanted.schedule,
        HGFAST_PTX_ARCH=wanted.arch,
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *wanted.arguments, *arguments]
    start = time.perf_counter()
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return result.returncode, time.perf_counter() - start, result.stdout + result.stderr


def digest() -> str:
    """Of all that a run depends on but the compilers and the packages."""
    folders = ("csrc/bindings", "csrc/common", "csrc/cuda", "hgfast/ops", "tests/ptx", "tests/emulator")
    files = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES}
    files |= {path for path in (ROOT / "tests").glob("*.py") if not path.name.startswith("test_")}
    files |= {ROOT / name for name in (*OP_TESTS, *WRAPPER_TESTS, "setup.py", "hgfast/_native.py")}
    return records.digest(path for path in files if "build" not in path.relative_to(ROOT).parts)


def main(arguments: list[str]) -> int:
    """Build, run, report; 1 if any run fails."""
    if arguments[:1] == ["--build"]:
        for module in arguments[1:] or MODULES:
            build(module)
        return 0
    return records.run_recorded(RECORD, digest(), arguments, build_and_run)


def build_and_run(arguments: list[str]) -> int:
    """1 if any run fails."""
    start = time.perf_counter()
    for module in MODULES:
        build(module)
    print(f"built in {time.perf_counter() - start:.0f} s", flush=True)
    return int(run_all(arguments))


def run_all(arguments: list[str]) -> bool:
    """Whether one of the runs fails."""
    failed = False
    with ThreadPoolExecutor(2) as pool:
        for name, status, seconds, output in pool.map(lambda name: (name, *run(name, arguments)), RUNS):
            failed |= status != 0
            print(f"{name}: {'FAILED' if status else 'passed'} in {seconds:.0f} s", flush=True)
            if status:
                print(output, flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{used.ru_utime + used.ru_stime:.0f} s of processor time, at most {used.ru_maxrss / 1024:.0f} MB a process")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
