"""Calls the samples of the ops named on the command line, for compute-sanitizer or a debugger to watch.

    compute-sanitizer --tool memcheck python -m benchmarks.device.sanitize_one upsample_add conv_bias_act
    python -m benchmarks.device.sanitize_one --device cpu upsample_add

Each sample's arguments are made on the CPU, so hgfast's kernels are nearly all that runs on the card. Lines
"@@ begin <op>" and "@@ end <op>" enclose what an op did; an exception is printed and the next op follows.
"""

from __future__ import annotations

import argparse
import traceback

import torch

from benchmarks.harness import synchronize
from tests.sample_checks import SAMPLES, call_op, moved, sample


def run_op(name: str, device: str) -> None:
    """All samples of an op, waiting for each."""
    for index in range(len(SAMPLES[name]("cpu"))):
        call_op(name, moved(sample(name, index), device))
        synchronize(device)


def main() -> None:
    """Run the ops."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ops", nargs="+", help="names of registered ops")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    torch.zeros(1, device=options.device)  # what the first use of a device does is no op's doing
    synchronize(options.device)
    for name in options.ops:
        print(f"@@ begin {name}", flush=True)
        try:
            run_op(name, options.device)
        except Exception:
            traceback.print_exc()
            print(f"@@ failed {name}", flush=True)
        else:
            print(f"@@ end {name}", flush=True)


if __name__ == "__main__":
    main()
