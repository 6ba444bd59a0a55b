"""``hgfast eval``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.cli._shared import changed
from hgfast.cli._text import measures_table
from hgfast.data.keypoints import known_name
from hgfast.data.split import PARTS
from hgfast.files import check_writable, write_json
from hgfast.progress import progress_bar
from hgfast.results import check_results_path, write_results
from hgfast.train.build import choose_device, make_codec, make_dataset, make_predictor
from hgfast.train.config import Config, apply
from hgfast.train.evaluate import predict_dataset
from hgfast.train.loaded import load_network
from hgfast.train.measures import measure, require_packages
from hgfast.train.parallel import World
from hgfast.train.parts import truth_file


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes; processes under torchrun share the work."""
    config, model, _ = load_network(options.checkpoint, options.preset)
    part = options.part
    given: dict[str, Any] = {f"{part}_annotations": options.annotations, f"{part}_images": options.images}
    given |= {"flip_test": False} if options.no_flip else {}
    config = apply(changed(config, options), {name: value for name, value in given.items() if value is not None})
    _check_targets(options, config)
    require_packages(config.table)
    device = choose_device(config.device)
    dataset = make_dataset(config, part, augment=False)
    world = World.join(device.type)
    predictor = make_predictor(config, model, make_codec(config), world.device(device))
    bar = progress_bar("eval", options.quiet or not world.is_main)
    keypoints, scores = predict_dataset(predictor, dataset, config.workers, bar, world)
    if not world.is_main:
        return
    images = getattr(config, f"{part}_images") or config.train_images
    metrics = measure(dataset, keypoints + np.float32(config.pixel_origin), scores, truth_file(config, part))
    source = getattr(config, f"{part}_annotations") or config.train_annotations
    print(f"{len(dataset)} persons of {source}" + ("" if part == "val" else f" ({part})"))
    print(measures_table(metrics))
    if options.json:
        write_json(options.json, metrics, indent=2)
    for path in options.out:
        write_results(path, dataset, keypoints, scores, metrics, images or None)


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
    read = [getattr(config, f"{part}_annotations") for part in PARTS]
    read += [options.checkpoint, config.val_detections, config.val_head_boxes]
    for target in targets:
        for source in map(Path, filter(None, read)):
            if target.exists() and source.exists() and target.samefile(source):
                raise ValueError(f"{target}: would overwrite the input {source}")
