"""The command ``hgfast``: outside the package, whose import takes seconds and may be interrupted like the rest."""

from __future__ import annotations

import sys


def main() -> int:
    """Imports the package and runs the command line; returns the exit code."""
    try:
        from hgfast.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("hgfast: interrupted", file=sys.stderr)
        return 130
