"""The options of ``hgfast export``."""

from __future__ import annotations

import argparse

from hgfast.cli.options.shared import add_set

FORMS = (
    "onnx",
    "torchscript",
    "torch.export",
    "openvino",
    "frozen",
    "safetensors",
)  # those of hgfast.export and freeze

_EPILOG = """\
onnx, torchscript, torch.export and openvino are the unfused network in float32, for any number of images of the size
that it was trained with, and run without hgfast. Each is run once in its own runtime on random images and held against
the network; only a right one comes to its place. The file says in "hgfast.json" (ONNX: metadata, OpenVINO: runtime
info) how images are normalised, and the names of the keypoints.

frozen and safetensors are the network of hgfast.freeze, weights folded; hgfast.FrozenModel.load reads both.

examples:
  hgfast export runs/a/best.pt --to onnx --decode
  hgfast export hourglass52_mpii_256x256-ae358435_20200812.pth hg52.xml --preset hourglass52-mpii-256 --to openvino"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = _EPILOG
    parser.add_argument("checkpoint", help="weights: a .pt file of hgfast, or a checkpoint of MMPose or princeton-vl")
    parser.add_argument("target", nargs="?", help="file to write (default: beside the checkpoint, by its name)")
    parser.add_argument("--to", required=True, choices=FORMS, help="the form")
    parser.add_argument("--decode", action="store_true", help="give keypoints and scores, not heatmaps")
    parser.add_argument("--pixels", action="store_true", help="take images of 0..255 and normalise them inside")
    parser.add_argument("--preset", help="configuration of a checkpoint without one of its own (see `train --list`)")
    add_set(parser)
