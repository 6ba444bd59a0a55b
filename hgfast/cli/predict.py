"""``hgfast predict``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hgfast import _checks
from hgfast.cli._inputs import BoxSource, find_inputs, is_video
from hgfast.cli._predicting import Work
from hgfast.cli._shared import changed
from hgfast.cli._targets import Targets
from hgfast.cli._text import one_line
from hgfast.predict import Detector, Predictor, Seen, Tracker, torchvision_detector
from hgfast.train.build import choose_device, make_codec, make_predictor
from hgfast.train.loaded import load_network
from hgfast.viz import draw_people


def run(options: argparse.Namespace) -> int:
    """Predicts, draws and writes; inputs that cannot be used are left out, listed at the end, and make the code 2."""
    paths = find_inputs(options.inputs)
    boxes = BoxSource(options, paths)
    _check_numbers(options)
    targets = Targets(Path(options.output), options.table)
    named = options.checkpoint, options.boxes, options.annotations, options.detector_weights
    targets.check(paths, [*paths, *map(Path, filter(None, named))])
    find = _detector(options)
    config, model, _ = load_network(options.checkpoint, options.preset)
    if options.no_flip:
        options.set.append("flip_test=false")
    config = changed(config, options)
    boxes.check(config.boxes == "picture")
    predictor = make_predictor(config, model, make_codec(config), choose_device(config.device))
    draw = None if options.no_draw else _drawer(predictor, options.min_score)
    work = Work(predictor, boxes, find, targets, draw, _tracker(options, predictor), options.quiet)
    try:
        work.pictures([path for path in paths if not is_video(path)])
        for path in (path for path in paths if is_video(path)):
            work.video(path)
    finally:  # after Ctrl-C, too
        for path, error in work.failed.items():
            name = "" if str(path) in str(error) else f"{path}: "
            print(f"hgfast predict: error: {name}{one_line(error)}", file=sys.stderr)
    if len(work.failed) < len(paths):
        others = [*([] if options.no_draw else ["*_keypoints.*"]), *(f"*.{form}" for form in targets.forms)]
        files = ", ".join([f"{options.output}/*.json", *others])
        print(f"{work.count} persons in {len(paths) - len(work.failed)} inputs: {files}")
    return 2 if work.failed else 0


def _check_numbers(options: argparse.Namespace) -> None:
    _checks.number("", "--min-score", options.min_score)
    _checks.number("", "--detector-score", options.detector_score)
    if options.smooth and not options.track:
        raise ValueError("--smooth: needs --track, for what is smoothed is an individual's way")
    if options.detector_weights and not options.detector:
        raise ValueError("--detector-weights: needs --detector, the name of the network")


def _detector(options: argparse.Namespace) -> Detector | None:
    if not options.detector:
        return None
    return torchvision_detector(
        options.detector,
        options.detector_weights,
        label=options.detector_label,
        min_score=options.detector_score,
        device=choose_device(options.device or "auto"),
    )


def _drawer(predictor: Predictor, min_score: float) -> Callable[[Seen], np.ndarray]:
    def draw(seen: Seen) -> np.ndarray:
        keypoints, scores = seen.prediction
        return draw_people(seen.image, keypoints, predictor.table, scores, min_score)

    return draw


def _tracker(options: argparse.Namespace, predictor: Predictor) -> Callable[[float], Tracker] | None:
    """What makes a tracker for a video of so many frames a second."""
    if not options.track:
        return None
    return lambda rate: Tracker(predictor.table, options.track, rate=rate, smooth=options.smooth)
