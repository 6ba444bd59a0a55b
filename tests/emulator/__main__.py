"""Runs the op tests of all CUDA sources on the emulator: `python -m tests.emulator [pytest arguments]`.

`python -m tests.emulator --build` only builds it, as the first test that needs it would.

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

from tests.emulator.build import ROOT, emulator_environment, make
from tests.gates.sources import SOURCES

# name: variant, schedule, tests
RUNS = {
    "check build, lazy copies": ("check", "forward,lazy", "not whole_networks and not frozen_network"),
    "fast build, shuffled, eager copies": ("fast", "shuffled,eager,2", "networks or frozen_net or split_k or boxes"),
}


def run(name: str) -> tuple[str, int, float, str]:
    """One pytest run: its name, exit status, seconds, output."""
    variant, schedule, tests = RUNS[name]
    files = sorted({source.tests.split(" ")[0] for source in SOURCES.values()})
    env = emulator_environment(HGFAST_EMULATOR_VARIANT=variant, HGFAST_EMULATOR_SCHEDULE=schedule)
    command = [sys.executable, "-m", "pytest", "--device", "emulator", "-p", "no:cacheprovider", "-k", tests, *files]
    start = time.perf_counter()
    result = subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return name, result.returncode, time.perf_counter() - start, result.stdout + result.stderr


def main() -> int:
    """Build, run, report; 1 if any run fails."""
    start = time.perf_counter()
    make()
    print(f"built in {time.perf_counter() - start:.0f} s", flush=True)
    if sys.argv[1:] == ["--build"]:
        return 0
    failed = False
    with ThreadPoolExecutor(2) as pool:
        for name, status, seconds, output in pool.map(run, RUNS):
            failed |= status != 0
            print(f"{name}: {'FAILED' if status else 'passed'} in {seconds:.0f} s", flush=True)
            if status:
                print(output, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
