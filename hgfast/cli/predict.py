"""``hgfast predict``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch

from hgfast import _checks
from hgfast.cli._inputs import BoxSource, find_inputs, is_video
from hgfast.cli._journal import Journal, settings_of
from hgfast.cli._predicting import Work
from hgfast.cli._shared import changed
from hgfast.cli._shares import Outcome, share, together
from hgfast.cli._targets import Targets
from hgfast.predict import Detector, Predictor, Seen, Tracker, torchvision_detector
from hgfast.train.build import choose_device, make_codec, make_predictor
from hgfast.train.config import apply
from hgfast.train.loaded import load_network
from hgfast.train.parallel import World
from hgfast.viz import draw_people

PATIENCE = timedelta(days=30)  # of a process that is done, for others with longer videos; torchrun ends them all


def run(options: argparse.Namespace) -> int:
    """Predicts, draws and writes; inputs that cannot be used are left out, listed at the end, and make the code 2.

    Processes under torchrun share the inputs.
    """
    paths = find_inputs(options.inputs)
    boxes = BoxSource(options, paths)
    _check_numbers(options)
    targets = Targets(Path(options.output), options.table)
    named = options.checkpoint, options.boxes, options.annotations, options.detector_weights
    targets.check(paths, [*paths, *map(Path, filter(None, named))])
    settings = settings_of(options)
    config, model, _ = load_network(options.checkpoint, options.preset)
    config = changed(config, options)
    config = apply(config, {"flip_test": False}) if options.no_flip else config
    boxes.check(config.boxes == "picture")
    device = choose_device(config.device)
    world = World.join(device.type, PATIENCE)
    predictor = make_predictor(config, model, make_codec(config), world.device(device))
    find = _detector(options, world.device(device))
    journal = Journal(targets.folder, world.rank, settings)
    before = _begin(journal, world, options.resume, paths, targets)
    draw = None if options.no_draw else _drawer(predictor, options.min_score)
    track, quiet = _tracker(options, predictor), options.quiet or not world.is_main
    work = Work(predictor, boxes, find, targets, draw, track, quiet, journal.add)
    mine, outcome = share([path for path in paths if path not in before], world), work.outcome
    try:
        work.pictures([path for path in mine if not is_video(path)])
        for path in (path for path in mine if is_video(path)):
            work.video(path)
        outcome = together(work.outcome, paths, world)
    finally:  # after Ctrl-C, too
        if world.is_main or outcome is work.outcome:
            _tell_failures(outcome)
        if world.is_main:
            pictures = [path for path in paths if path in {**before, **outcome.done} and not is_video(path)]
            targets.write_picture_tables(pictures, predictor.table.names)
    if world.is_main and len(outcome.failed) < len(paths):
        _tell_results(options, targets, outcome.count + sum(before.values()), len(paths) - len(outcome.failed))
    return 2 if outcome.failed else 0


def _begin(journal: Journal, world: World, resume: bool, paths: list[Path], targets: Targets) -> dict[Path, int]:
    """Return the inputs that an earlier run has done, and their persons: what process 0 finds is what all go by."""
    found: dict[str, int] = {}
    if world.is_main and resume:
        found = journal.done()
    elif world.is_main:
        journal.forget()
    found = world.objects(found)[0]
    journal.begin()
    done = {path: found[os.path.abspath(path)] for path in paths if os.path.abspath(path) in found}
    return {path: persons for path, persons in done.items() if targets.json(path).is_file()}


def _tell_failures(outcome: Outcome) -> None:
    for text in outcome.failed.values():
        print(f"hgfast predict: error: {text}", file=sys.stderr)


def _tell_results(options: argparse.Namespace, targets: Targets, persons: int, inputs: int) -> None:
    others = [*([] if options.no_draw else ["*_keypoints.*"]), *(f"*.{form}" for form in targets.forms)]
    files = ", ".join([f"{options.output}/*.json", *others])
    print(f"{persons} persons in {inputs} inputs: {files}")


def _check_numbers(options: argparse.Namespace) -> None:
    _checks.number("", "--min-score", options.min_score)
    _checks.number("", "--detector-score", options.detector_score)
    if options.smooth and not options.track:
        raise ValueError("--smooth: needs --track, for what is smoothed is an individual's way")
    if options.detector_weights and not options.detector:
        raise ValueError("--detector-weights: needs --detector, the name of the network")


def _detector(options: argparse.Namespace, device: torch.device) -> Detector | None:
    if not options.detector:
        return None
    return torchvision_detector(
        options.detector,
        options.detector_weights,
        label=options.detector_label,
        min_score=options.detector_score,
        device=device,
    )


def _drawer(predictor: Predictor, min_score: float) -> Callable[[Seen], np.ndarray]:
    def draw(seen: Seen) -> np.ndarray:
        keypoints, scores = seen.prediction
        return draw_people(seen.image, keypoints, predictor.table, scores, min_score)

    return draw


def _tracker(options: argparse.Namespace, predictor: Predictor) -> Callable[[float], Tracker] | None:
    """Return a function that makes a tracker for a video of so many frames a second."""
    if not options.track:
        return None
    return lambda rate: Tracker(predictor.table, options.track, rate=rate, smooth=options.smooth)
