"""Calls hgfast's side of one benchmark case a few times, for a profiler to watch.

ncu --clock-control none python -m benchmarks.device.profile_one bench_upsample_add upsample_add/8x256x64x64
"""

from __future__ import annotations

import sys

from benchmarks.device.measure import load_cases
from benchmarks.harness import synchronize

CALLS = 2


def main(file: str, case: str, device: str = "cuda") -> None:
    """Call it."""
    chosen = load_cases(file)[case]
    call = chosen.make(device)[chosen.peers[0]]
    for _ in range(CALLS):
        call()
    synchronize(device)


if __name__ == "__main__":
    main(*sys.argv[1:])
