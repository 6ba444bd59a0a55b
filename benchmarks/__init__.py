"""What hgfast gains: benchmarks of every op and of whole networks against their peers.

Run from a checkout (`pytest benchmarks --benchmark-only`, `python -m benchmarks.table`, `python -m benchmarks.device`);
hgfast itself may be installed or built in place.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

if not list((ROOT / "hgfast").glob("_cpu*.so")):
    # hgfast is installed, not built in place: the checkout's folder must not hide it
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != ROOT] + [str(ROOT)]
