"""All checks of tests/ptx that take minutes, one after the other: `python -m tests.ptx.nightly`."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.emulator.build import ROOT

COMMANDS = {
    "fuzz": ("tests.ptx.fuzz", "600", str(time.time_ns() % 1_000_000)),
    "whole networks": ("tests.ptx.networks",),
    "mutants": ("tests.ptx.mutate",),
    "CUTLASS": ("tests.ptx.cutlass",),
}


def main() -> int:
    """Run them all; 1 if any fails."""
    failed = False
    for name, module in COMMANDS.items():
        start = time.perf_counter()
        status = subprocess.run([sys.executable, "-m", *module], cwd=ROOT, check=False)
        failed |= status.returncode != 0
        verdict = "FAILED" if status.returncode else "passed"
        print(f"{name}: {verdict} in {time.perf_counter() - start:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
