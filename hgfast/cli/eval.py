"""``hgfast eval``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.cli._shared import add_checkpoint, add_device, add_freeze, add_set, changed, load_network, measures_table
from hgfast.data.keypoints import known_name
from hgfast.files import check_writable, write_json
from hgfast.progress import progress_bar
from hgfast.results import check_results_path, write_results
from hgfast.train.build import choose_device, make_codec, make_dataset, make_predictor
from hgfast.train.config import Config, apply
from hgfast.train.evaluate import predict_dataset
from hgfast.train.measures import measure, require_packages
from hgfast.train.parallel import World

_EPILOG = """\
MPII is measured by PCKh (joint groups, mean, mean at 0.1, area under the curve), COCO by AP and AR, faces by NME, hands
by PCK at 0.2, AUC and EPE, keypoints of one's own by mean (RMSE) and median error in pixels, PCK and AP. --out writes
every person's keypoints: FILE.csv, FILE.json (COCO: a results file), FILE.mat (MPII: `preds` as MMPose's pred.mat, and
the toolkit's `pred`).

examples:
  hgfast eval runs/a/best.pt --out pred.mat --out table.csv
  hgfast eval hourglass52_mpii_256x256-ae358435_20200812.pth --preset hourglass52-mpii-256 --set pixel_origin=1 \\
      --annotations mpii/mpii_val.json --images mpii/images"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = _EPILOG
    add_checkpoint(parser)
    parser.add_argument("--annotations", help="annotation file (setting val_annotations)")
    parser.add_argument("--images", help="picture folder (setting val_images)")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirrored picture")
    parser.add_argument("--out", metavar="FILE", action="append", default=[], help="also write the keypoints")
    parser.add_argument("--json", metavar="FILE", help="also write the measures to this file")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_freeze(parser)
    add_set(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes; processes under torchrun share the work."""
    config, model, _ = load_network(options.checkpoint, options.preset)
    given: dict[str, Any] = {"val_annotations": options.annotations, "val_images": options.images}
    given |= {"flip_test": False} if options.no_flip else {}
    config = apply(changed(config, options), {name: value for name, value in given.items() if value is not None})
    _check_targets(options, config)
    require_packages(config.table)
    device = choose_device(config.device)
    dataset = make_dataset(config, "val")
    world = World.join(device.type)
    predictor = make_predictor(config, model, make_codec(config), world.device(device))
    bar = progress_bar("eval", options.quiet or not world.is_main)
    keypoints, scores = predict_dataset(predictor, dataset, config.workers, bar, world)
    if not world.is_main:
        return
    metrics = measure(dataset, keypoints + np.float32(config.pixel_origin), scores, config.val_annotations)
    print(f"{len(dataset)} persons of {config.val_annotations}")
    print(measures_table(metrics))
    if options.json:
        write_json(options.json, metrics, indent=2)
    for path in options.out:
        write_results(path, dataset, keypoints, scores, metrics, config.val_images or None)


def _check_targets(options: argparse.Namespace, config: Config) -> None:
    """Before the work: all files can be written, and none of them is one that is read."""
    for path in options.out:
        check_results_path(path, known_name(config.table))
    if options.json:
        check_writable(options.json)
    targets = [Path(target) for target in (*options.out, options.json) if target]
    twice = [str(target) for target in targets if targets.count(target) > 1]
    if twice:
        raise ValueError(f"{twice[0]}: would be written twice")
    read = [options.checkpoint, config.val_annotations, config.val_detections, config.val_head_boxes]
    for target in targets:
        for source in map(Path, filter(None, read)):
            if target.exists() and source.exists() and target.samefile(source):
                raise ValueError(f"{target}: would overwrite the input {source}")
