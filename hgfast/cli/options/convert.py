"""The options of ``hgfast convert``."""

from __future__ import annotations

import argparse

FORMS = ("hgfast", "mmpose", "mmpose0", "princeton")  # hgfast.checkpoint.names.FORMATS

_EPILOG = """\
The file is loaded into its network first, so that a file which does not fit is refused.

examples:
  hgfast convert hourglass52_mpii_256x256-ae358435_20200812.pth hg52.pt --preset hourglass52-mpii-256
  hgfast convert checkpoint.pt hg8.pt --preset hg8-mpii
  hgfast convert runs/a/best.pt weights.pth --form mmpose"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = _EPILOG
    parser.add_argument("checkpoint", help="file of hgfast, MMPose (0.x or 1.x) or princeton-vl")
    parser.add_argument("target", help="file to write; must not exist yet")
    parser.add_argument("--form", choices=FORMS, default="hgfast", help="whose file (default: %(default)s)")
    parser.add_argument("--preset", help="configuration of the network, where the file does not bring its own")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting to be stored")
