"""The options of ``hgfast info``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--report",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print, or write to a file, all that a report of a wrong kernel needs: versions, cards, driver, switches, "
        "and the kernels that were found wrong on this machine",
    )
