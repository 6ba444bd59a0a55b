"""Random convolutions and bottlenecks on their PTX, against float64: `python -m tests.ptx.fuzz [seconds [seed]]`.

$HGFAST_PTX_ARCH=80 leaves out what only Hopper has. The command fails if a result is wrong; shapes that a kernel
refuses are counted. A case that fails is printed in full and comes again with its seed.
"""

from __future__ import annotations

import collections
import random
import sys
import time

import pytest
import torch

from tests import bottleneck_cases, conv_cases
from tests.emulator.device import emulated_cuda
from tests.ptx.module import use_interpreter

Case = conv_cases.Case | bottleneck_cases.Case
HALF_TYPES = (torch.float16, torch.bfloat16)


def draw_convolution(r: random.Random) -> conv_cases.Case:
    """Any size, kernel, stride and epilogue; the kernel's choice or a given one, split or not."""
    dtype = r.choice((*HALF_TYPES, torch.float32))
    kernel, algorithm = r.choice((1, 3, 3, 3, 5, 7)), r.choice((0, 0, *range(2, 10)))
    c = r.randint(1, 6) if r.random() < 0.15 else 8 * r.randint(1, 24) if r.random() < 0.8 else r.randint(1, 100)
    extras = "".join(name for name in "rnl2" if r.random() < 0.35) + r.choice(("", "", "u", "o"))
    return conv_cases.Case(
        n=r.randint(1, 3),
        h=r.randint(1, 40),
        w=r.randint(1, 40),
        c=c,
        k=r.choice((8 * r.randint(1, 33), r.randint(1, 140))),
        kernel=kernel,
        stride=r.choice((1, 1, 2)),
        extras=extras,
        extra_c=8 * r.randint(1, 12) if r.random() < 0.2 and kernel in (1, 3) else 0,
        extra_stride=r.choice((1, 2)),
        dtype=dtype,
        algorithm=algorithm,
        splits=r.choice((1, 1, 2, 3, 5)) if algorithm else 1,
        exact=dtype == torch.float32 and r.random() < 0.5,
    )


def draw_bottleneck(r: random.Random) -> bottleneck_cases.Case:
    """Any size and epilogue on one of the tiles."""
    tile = r.choice(list(bottleneck_cases.TILES))
    most = 16 if tile.endswith("128") else 8
    return bottleneck_cases.Case(
        n=r.randint(1, 3),
        h=r.randint(1, 40),
        w=r.randint(1, 40),
        c=8 * r.randint(1, 32),
        m=8 * r.randint(1, most),
        extras=r.choice(("", "2", "u", "o", "u2", "o2")),
        dtype=r.choice(HALF_TYPES),
        algorithm=bottleneck_cases.TILES[tile],
    )


def try_case(case: Case, schedule: dict[str, str | int]) -> str:
    """ "right", "refused", "skipped" or what is wrong."""
    cases = conv_cases if isinstance(case, conv_cases.Case) else bottleneck_cases
    try:
        with emulated_cuda(**schedule):
            cases.check(case, "cpu")  # type: ignore[arg-type]
    except ValueError:
        return "refused"
    except pytest.skip.Exception:
        return "skipped"
    except (AssertionError, RuntimeError) as error:
        return str(error)
    return "right"


def main() -> int:
    """Draw and try cases until the time is over; 1 if any is wrong."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    use_interpreter()
    torch.set_num_threads(1)
    r, end = random.Random(seed), time.monotonic() + seconds
    counts: collections.Counter[str] = collections.Counter()
    while time.monotonic() < end:
        schedule = {
            "order": r.choice(("forward", "reverse", "shuffled")),
            "asynchronous": r.choice(("lazy", "eager")),
            "seed": r.randrange(1000),
        }
        case = draw_convolution(r) if r.random() < 0.75 else draw_bottleneck(r)
        verdict = try_case(case, schedule)
        if verdict not in ("right", "refused", "skipped"):
            print(f"WRONG {schedule} {case}: {verdict[:700]}", flush=True)
            verdict = "wrong"
        counts[verdict] += 1
    print(f"seed {seed}: {dict(counts)}")
    return int(counts["wrong"] > 0 or not counts["right"])


if __name__ == "__main__":
    sys.exit(main())
