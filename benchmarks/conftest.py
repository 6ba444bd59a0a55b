"""Lets `pytest benchmarks` find the package `benchmarks` without hiding an installed hgfast."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
