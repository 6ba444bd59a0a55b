"""``hgfast bench``."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from hgfast import _checks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command; the benchmarks parse the rest themselves."""
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: all there are")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for each case (default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Runs the checkout's benchmarks and prints their table."""
    _checks.number("", "--budget", options.budget, above=0, maximum=3600)
    if options.device == "cuda":
        _checks.device("", "--device", options.device)
    root = find_checkout()
    if root is None:
        raise ValueError(
            "the benchmarks are part of the source, not of the installed package: run this in a checkout of hgfast "
            "(after pip install '.[bench]')"
        )
    if str(root) not in sys.path:
        sys.path.append(str(root))
    arguments = ["--only", options.only, "--budget", str(options.budget)]
    arguments += ["--device", options.device] if options.device else []
    importlib.import_module("benchmarks.table").main(arguments)


def find_checkout() -> Path | None:
    """Folder with ``benchmarks/table.py``: the working folder, one above it, or the one the package lies in."""
    here = Path.cwd()
    candidates = (here, *here.parents, Path(__file__).parents[2])
    return next((folder for folder in candidates if (folder / "benchmarks" / "table.py").is_file()), None)
