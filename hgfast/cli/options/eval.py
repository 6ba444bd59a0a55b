"""The options of ``hgfast eval``."""

from __future__ import annotations

import argparse

from hgfast.cli.options.shared import add_checkpoint, add_device, add_freeze, add_set

_EPILOG = """\
MPII is measured by PCKh (joint groups, mean, mean at 0.1, area under the curve), COCO by AP and AR, faces by NME, hands
by PCK at 0.2, AUC and EPE, keypoints of one's own by mean (RMSE) and median error in pixels, PCK and AP. --out writes
every person's keypoints: FILE.csv, FILE.json (COCO: a results file), FILE.coco.json (a results file of any keypoints),
FILE.mmpose.json (as MMPose's demos), FILE.dlc.csv and FILE.h5 (DeepLabCut's table), FILE.mat (MPII: `preds` as MMPose's
pred.mat, and the toolkit's `pred`).

examples:
  hgfast eval runs/a/best.pt --out pred.mat --out table.csv
  hgfast eval hourglass52_mpii_256x256-ae358435_20200812.pth --preset hourglass52-mpii-256 --set pixel_origin=1 \\
      --annotations mpii/mpii_val.json --images mpii/images"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = _EPILOG
    add_checkpoint(parser)
    parser.add_argument(
        "--part", choices=("train", "val", "test"), default="val", help="pictures to measure on (default: %(default)s)"
    )
    parser.add_argument("--annotations", help="annotation file of that part (setting val_annotations)")
    parser.add_argument("--images", help="picture folder of that part (setting val_images)")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirrored picture")
    parser.add_argument("--out", metavar="FILE", action="append", default=[], help="also write the keypoints")
    parser.add_argument("--json", metavar="FILE", help="also write the measures to this file")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_freeze(parser)
    add_set(parser)
    add_device(parser)
