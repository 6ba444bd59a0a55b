"""The options of ``hgfast train``."""

from __future__ import annotations

import argparse

from hgfast.cli.options.shared import add_device, add_set

_EPILOG = """\
A run's folder (setting `output`) gets config.toml, log.csv, curves.png, last.pt (everything, for --resume) and
best.pt (the weights of the best validation). Ctrl-C ends after the current step and saves; after a crash,
--resume goes on from the last checkpoint exactly as if training had not stopped.

examples:
  hgfast train --preset hourglass52-mpii-256 --set train_images=mpii/images --set val_images=mpii/images \\
      --set train_annotations=mpii/mpii_train.json --set val_annotations=mpii/mpii_val.json --set amp=bf16
  hgfast train --resume --output runs/a"""
DEFAULT_PRESET = "hourglass52-mpii-256"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = _EPILOG
    parser.add_argument("--preset", help=f"where to start from (default: {DEFAULT_PRESET})")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings that differ from the preset's")
    add_set(parser)
    add_device(parser)
    parser.add_argument("--output", help="folder for this run (setting `output`)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where the run in the output folder stopped, with its settings unless --config or --preset is given",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--list", action="store_true", help="list the presets and stop")
    parser.add_argument("--show", action="store_true", help="print all settings as TOML and stop")
