"""The options of ``hgfast demo``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = "The folder gets overlay.png, curves.png, run/ (log and checkpoints), summary.md and summary.json."
    parser.add_argument("--output", default="hgfast-demo", help="folder (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="how long to train (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and augmentation (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
