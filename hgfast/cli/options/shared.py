"""Options that several commands have."""

from __future__ import annotations

import argparse


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add ``--set KEY=VALUE``."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, e.g. --set lr=1e-3 --set augment.rotation=30 (may be repeated)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", default=None, help='"cpu", "cuda", "cuda:1"; default: the GPU where there is one')


def add_freeze(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-freeze``."""
    parser.add_argument(
        "--no-freeze", action="store_true", help="run the network as it was trained, without hgfast.freeze"
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint and the preset that tells what network it holds."""
    parser.add_argument("checkpoint", help="weights: a .pt file of hgfast, or a checkpoint of MMPose or princeton-vl")
    parser.add_argument("--preset", help="configuration of a checkpoint without one of its own (see `train --list`)")
