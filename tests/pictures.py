"""Where the real MPII pictures are, and the mark of tests that need them (they are never part of the repository)."""

import os
from pathlib import Path

import pytest

MPII_ROOT = Path(os.environ.get("HGFAST_MPII_ROOT", Path(__file__).parents[1].parent / "shared" / "data" / "mpii"))
needs_pictures = pytest.mark.skipif(
    not (MPII_ROOT / "test_mpii.json").is_file(), reason=f"no MPII pictures in {MPII_ROOT} (set HGFAST_MPII_ROOT)"
)
