"""``hgfast demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from hgfast import _checks
from hgfast.demo import run_demo


def run(options: argparse.Namespace) -> None:
    """Run the demonstration."""
    _checks.integer("", "--epochs", options.epochs, 1)
    _checks.integer("", "--seed", options.seed, 0)
    if (Path(options.output) / "summary.json").exists():
        raise ValueError(f"{options.output} holds an earlier demo: remove it or choose another --output")
    run_demo(options.output, options.epochs, options.seed, options.quiet)
