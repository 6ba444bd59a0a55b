"""``hgfast predict``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.cli._inputs import BoxSource, find_inputs, is_video
from hgfast.cli._shared import changed
from hgfast.cli._text import one_line
from hgfast.data.video import VideoWriter, frame_count, frame_rate, read_frames
from hgfast.files import atomic_write, check_writable, write_json
from hgfast.predict import Predictor, Seen
from hgfast.progress import progress_bar
from hgfast.results import instances
from hgfast.train.build import choose_device, make_codec, make_predictor
from hgfast.train.loaded import load_network
from hgfast.viz import draw_people


def run(options: argparse.Namespace) -> int:
    """Predicts, draws and writes; inputs that cannot be used are left out, listed at the end, and make the code 2."""
    paths = find_inputs(options.inputs)
    boxes = BoxSource(options, paths)
    _checks.number("", "--min-score", options.min_score)
    output = Path(options.output)
    _check_targets(options, output, paths)
    config, model, _ = load_network(options.checkpoint, options.preset)
    if options.no_flip:
        options.set.append("flip_test=false")
    config = changed(config, options)
    boxes.check(config.boxes == "picture")
    predictor = make_predictor(config, model, make_codec(config), choose_device(config.device))

    def draw(seen: Seen) -> np.ndarray:
        keypoints, scores = seen.prediction
        return draw_people(seen.image, keypoints, predictor.table, scores, options.min_score)

    work = _Work(predictor, boxes, output, None if options.no_draw else draw, options.quiet)
    try:
        work.pictures([path for path in paths if not is_video(path)])
        for path in (path for path in paths if is_video(path)):
            work.video(path)
    finally:  # after Ctrl-C, too
        for path, error in work.failed.items():
            name = "" if str(path) in str(error) else f"{path}: "
            print(f"hgfast predict: error: {name}{one_line(error)}", file=sys.stderr)
    if len(work.failed) < len(paths):
        drawn = "" if options.no_draw else ", *_keypoints.*"
        print(f"{work.count} persons in {len(paths) - len(work.failed)} inputs: {output}/*.json{drawn}")
    return 2 if work.failed else 0


def _check_targets(options: argparse.Namespace, output: Path, paths: list[Path]) -> None:
    """Results overwrite earlier results, but nothing that this run reads."""
    read = [*paths, *map(Path, filter(None, (options.checkpoint, options.boxes, options.annotations)))]
    for path in paths:
        for target in (_json(output, path), _drawing(output, path)):
            check_writable(target)
            same = [source for source in read if target.exists() and source.exists() and target.samefile(source)]
            if same:
                raise ValueError(f"--output {output}: {target.name} would overwrite the input {same[0]}")


def _json(output: Path, path: Path) -> Path:
    return output / f"{path.stem}.json"


def _drawing(output: Path, path: Path) -> Path:
    return output / f"{path.stem}_keypoints{'.mp4' if is_video(path) else '.png'}"


@dataclass
class _Work:
    predictor: Predictor
    boxes: BoxSource
    output: Path
    draw: Callable[[Seen], np.ndarray] | None
    quiet: bool
    count: int = 0  # persons
    failed: dict[Path, Exception] = field(default_factory=dict)

    def pictures(self, paths: list[Path]) -> None:
        """Pictures one after the other, each written as soon as it is done."""
        bar = progress_bar("pictures", self.quiet or not paths)
        pairs = ((path, self.boxes.of_picture(path)) for path in bar(paths))
        stream = self.predictor.stream(pairs, lambda number, error: self.failed.update({paths[number]: error}))
        used = (path for path in paths if path not in self.failed)  # asked only for what the stream has passed
        for seen in stream:
            path = next(used)
            try:
                write_json(_json(self.output, path), _instances(seen))
                if self.draw:
                    with atomic_write(_drawing(self.output, path)) as file:
                        file.write(cv2.imencode(".png", self.draw(seen))[1].tobytes())
                self.count += len(seen.boxes)
            except OSError as error:
                self.failed[path] = error

    def video(self, path: Path) -> None:
        """A video; what was found is written also after an error, in reading or in drawing, and after Ctrl-C."""
        frames: list[dict[str, Any]] = []
        try:
            try:
                self._frames(path, frames)
            finally:
                if frames:
                    write_json(_json(self.output, path), frames)
                    self.count += sum(len(frame["instances"]) for frame in frames)
        except (OSError, ValueError, TypeError) as error:
            self.failed[path] = error

    def _frames(self, path: Path, frames: list[dict[str, Any]]) -> None:
        bar = progress_bar(path.name, self.quiet, frame_count(path))
        pairs = zip(bar(read_frames(path)), self.boxes.of_frames(path), strict=False)
        failure: OSError | ValueError | None = None
        with VideoWriter(_drawing(self.output, path), frame_rate(path)) as writer:
            for number, seen in enumerate(self.predictor.stream(pairs)):
                frames.append({"frame_id": number, "instances": _instances(seen)})
                if self.draw and failure is None:
                    try:
                        writer.write(self.draw(seen))
                    except (OSError, ValueError) as error:
                        failure = error
        if failure is not None:
            raise failure


def _instances(seen: Seen) -> list[dict[str, Any]]:
    return instances(seen.boxes, *seen.prediction)
