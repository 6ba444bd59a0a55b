"""``hgfast eval``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hgfast.cli._shared import add_checkpoint, add_device, add_set, changed, load_network, measures_table
from hgfast.files import write_text
from hgfast.progress import progress_bar
from hgfast.train import evaluate
from hgfast.train.build import choose_device, make_codec, make_dataset, make_predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    add_checkpoint(parser)
    parser.add_argument("--annotations", help="annotation file (setting val_annotations)")
    parser.add_argument("--images", help="picture folder (setting val_images)")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirrored picture")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers to this file")
    add_set(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Measures and prints."""
    config, model, _ = load_network(options.checkpoint, options.preset)
    for option, setting in (("annotations", "val_annotations"), ("images", "val_images")):
        if getattr(options, option):
            options.set.append(f"{setting}={getattr(options, option)}")
    if options.no_flip:
        options.set.append("flip_test=false")
    config = changed(config, options)
    dataset = make_dataset(config, "val")
    predictor = make_predictor(config, model, make_codec(config), choose_device(config.device))
    metrics = evaluate(
        predictor,
        dataset,
        pixel_origin=config.pixel_origin,
        annotations=config.val_annotations,
        workers=config.workers,
        progress=progress_bar("eval"),
    )
    print(f"{len(dataset)} persons of {config.val_annotations}")
    print(measures_table(metrics))
    if options.json:
        write_text(Path(options.json), json.dumps(metrics, indent=2) + "\n")
