"""The options of ``hgfast predict``."""

from __future__ import annotations

import argparse

from hgfast.cli.options.shared import add_checkpoint, add_device, add_freeze, add_set

_EPILOG = """\
The output folder gets, for every input, NAME.json in MMPose's form (for each person keypoints, keypoint_scores, bbox,
bbox_score; pixels count from 0; for a video a list of {frame_id, instances}) and NAME_keypoints.png or .mp4.

--boxes takes {"a.jpg": [[x1, y1, x2, y2], ...], "clip.mp4": ...}; a video has the same boxes in all frames, or a list
of such lists, one for each frame. There and in --annotations, pictures of one file name in several folders are told
apart by their folders: "a/1.jpg" are the boxes of images/a/1.jpg.

--detector takes a name like fasterrcnn_resnet50_fpn_v2 and needs torchvision for the installed torch. With --track each
person also has a track_id, counted from 1, which is its individual in tables; without, that is its place in the frame.

An input that cannot be used (a broken picture, say) is listed at the end; the others are done, and the exit code is 2.
--resume goes on after a crash or Ctrl-C. Under torchrun the processes share the inputs; a video is one process's.

examples:
  hgfast predict best.pt person.jpg --whole-picture        one person who fills the picture
  hgfast predict best.pt street.jpg --box 40,60,300,420 --box 310,55,500,400
  hgfast predict best.pt clip.mp4 --box 40,60,300,420
  hgfast predict best.pt clip.mp4 --detector fasterrcnn_resnet50_fpn_v2 --track oks --smooth --table csv
  hgfast predict best.pt images/ --annotations mpii_val.json
  torchrun --nproc-per-node 8 -m hgfast predict best.pt images/ --boxes b.json --resume
  hgfast predict hourglass52_mpii_256x256-ae358435_20200812.pth --preset hourglass52-mpii-256 images/ --boxes b.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = _EPILOG
    add_checkpoint(parser)
    parser.add_argument("inputs", nargs="+", metavar="input", help="pictures, videos, folders of these")
    parser.add_argument("--box", action="append", metavar="X1,Y1,X2,Y2", help="a person's box, for a single input")
    parser.add_argument("--boxes", metavar="FILE", help="JSON file with the boxes of every input")
    parser.add_argument("--annotations", help="MPII JSON file with the persons' centres and scales")
    parser.add_argument(
        "--whole-picture",
        action="store_true",
        help="each picture shows one individual who fills it; without this word only for networks trained so",
    )
    parser.add_argument("--detector", metavar="NAME", help="find the boxes by this detection network of torchvision's")
    parser.add_argument(
        "--detector-weights", metavar="FILE", help="its state dict (default: torchvision downloads one)"
    )
    parser.add_argument(
        "--detector-label", type=int, default=1, metavar="N", help="what is wanted (default: %(default)s, persons)"
    )
    parser.add_argument(
        "--detector-score",
        type=float,
        default=0.5,
        metavar="S",
        help="leave out what is less sure (default: %(default)s)",
    )
    parser.add_argument(
        "--track", choices=("oks", "iou"), help="number individuals across frames, by keypoints or by boxes"
    )
    parser.add_argument("--smooth", action="store_true", help="smooth their ways (One Euro filter)")
    parser.add_argument(
        "--table",
        choices=("csv", "h5"),
        action="append",
        default=[],
        help="also write keypoints in DeepLabCut's shape: NAME.csv for a video, pictures.csv for all pictures",
    )
    parser.add_argument("--output", default="hgfast-predictions", help="folder (default: %(default)s)")
    parser.add_argument(
        "--resume", action="store_true", help="leave out what an earlier run with the same settings has done there"
    )
    parser.add_argument("--no-draw", action="store_true", help="write no pictures and videos")
    parser.add_argument("--min-score", type=float, default=0.2, help="do not draw joints below (default: %(default)s)")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirrored picture")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_freeze(parser)
    add_set(parser)
    add_device(parser)
