"""Failures that are known and not mended yet: of each target, how many cases of the ordinary test end in a verdict.

The counts are exact for the fixed seed, so that a fault that is mended fails the test, too, and is taken out here. Each
entry has a line in docs/reliability.md.
"""

from __future__ import annotations

KNOWN: dict[str, dict[str, int]] = {}
