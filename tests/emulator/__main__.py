"""Runs the op tests of all CUDA sources on the emulator: `python -m tests.emulator [pytest arguments]`.

`python -m tests.emulator --build` only builds it, as the first test that needs it would. A whole run that passed is
recorded in passed.txt with the digest of what it ran, to be committed with it; `--if-new`, as CI calls it, runs only if
kernels, emulator or tests are not those of the record.

Two runs at a time, of the two schedules that differ most: the check build with asynchronous copies as late as possible;
the fast build with threads and blocks shuffled and copies at once. The check build knows what is ordered before what,
so it finds races whatever the schedule is; the fast build runs whole networks, which are slow to check, and the tests
in which copies or blocks overlap most. `-k ""` runs all tests in both.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests import records
from tests.emulator.build import ROOT, emulator_environment, make
from tests.gates.sources import SOURCES

RECORD = ROOT / "tests" / "emulator" / "passed.txt"
SUFFIXES = (".py", ".cpp", ".h", ".cu", ".cuh")
OP_TESTS = tuple(sorted({source.tests.split(" ")[0] for source in SOURCES.values()}))
# name: variant, schedule, tests
RUNS = {
    "check build, lazy copies": ("check", "forward,lazy", "not whole_networks and not frozen_network"),
    "fast build, shuffled, eager copies": ("fast", "shuffled,eager,2", "networks or frozen_net or split_k or boxes"),
}


def run(arguments: list[str], name: str) -> tuple[str, int, float, str]:
    """One pytest run: its name, exit status, seconds, output."""
    variant, schedule, tests = RUNS[name]
    env = emulator_environment(HGFAST_EMULATOR_VARIANT=variant, HGFAST_EMULATOR_SCHEDULE=schedule)
    command = [sys.executable, "-m", "pytest", "--device", "emulator", "-p", "no:cacheprovider", "-k", tests, *OP_TESTS]
    start = time.perf_counter()
    result = subprocess.run([*command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return name, result.returncode, time.perf_counter() - start, result.stdout + result.stderr


def digest() -> str:
    """Of all that a run depends on but the compilers and the packages."""
    folders = ("csrc/bindings", "csrc/common", "csrc/cuda", "hgfast/ops", "hgfast/frozen", "tests/emulator")
    files = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES}
    files |= {path for path in (ROOT / "tests").glob("*.py") if not path.name.startswith("test_")}
    files |= {ROOT / name for name in (*OP_TESTS, "setup.py", "hgfast/_native.py")}
    return records.digest(path for path in files if "build" not in path.relative_to(ROOT).parts)


def main(arguments: list[str]) -> int:
    """Build, run, report; 1 if any run fails."""
    if arguments == ["--build"]:
        _build()
        return 0
    return records.run_recorded(RECORD, digest(), arguments, build_and_run)


def _build() -> None:
    start = time.perf_counter()
    make()
    print(f"built in {time.perf_counter() - start:.0f} s", flush=True)


def build_and_run(arguments: list[str]) -> int:
    """1 if any run fails."""
    _build()
    failed = False
    with ThreadPoolExecutor(2) as pool:
        for name, status, seconds, output in pool.map(partial(run, arguments), RUNS):
            failed |= status != 0
            print(f"{name}: {'FAILED' if status else 'passed'} in {seconds:.0f} s", flush=True)
            if status:
                print(output, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
