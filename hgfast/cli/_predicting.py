"""The work of ``hgfast predict``: pictures and videos one after the other, each written as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hgfast._opencv import cv2
from hgfast.cli._inputs import BoxSource
from hgfast.cli._targets import Targets, write_table
from hgfast.data import read_image
from hgfast.data.video import VideoWriter, frame_count, frame_rate, read_frames
from hgfast.files import atomic_write, write_json
from hgfast.predict import Prediction, Predictor, Seen, Tracker
from hgfast.predict.inputs import WHOLE
from hgfast.progress import progress_bar
from hgfast.results import instances


@dataclass
class Work:
    """What is done with every input.

    Attributes:
        predictor: finds the keypoints.
        boxes: of the inputs.
        find: finds boxes in their place; or None.
        targets: names of the files.
        draw: draws what was found; None writes no pictures.
        track: makes a tracker for a video of so many frames a second; or None.
        quiet: no progress bars.
        count: persons so far.
        failed: inputs that could not be used.
    """

    predictor: Predictor
    boxes: BoxSource
    find: Callable[[np.ndarray], np.ndarray] | None
    targets: Targets
    draw: Callable[[Seen], np.ndarray] | None
    track: Callable[[float], Tracker] | None
    quiet: bool
    count: int = 0
    failed: dict[Path, Exception] = field(default_factory=dict)

    def pictures(self, paths: list[Path]) -> None:
        """Pictures; the table of them all is written also after Ctrl-C."""
        bar = progress_bar("pictures", self.quiet or not paths)
        pairs = (self._picture(path) for path in bar(paths))
        stream = self.predictor.stream(pairs, lambda number, error: self.failed.update({paths[number]: error}))
        used = (path for path in paths if path not in self.failed)  # asked only for what the stream has passed
        rows: dict[str, list[dict[str, Any]]] = {}
        try:
            for seen in stream:
                path = next(used)
                persons = instances(seen.boxes, *seen.prediction)
                try:
                    write_json(self.targets.json(path), persons)
                    if self.draw:
                        with atomic_write(self.targets.drawing(path)) as file:
                            file.write(cv2.imencode(".png", self.draw(seen))[1].tobytes())
                    self.count += len(persons)
                    rows[path.name] = persons
                except OSError as error:
                    self.failed[path] = error
        finally:
            self._write_tables(paths[0], list(rows), list(rows.values())) if rows else None

    def _picture(self, path: Path) -> tuple[Any, Any]:
        """A picture and its boxes."""
        if self.find is None:
            return path, self.boxes.of_picture(path)
        try:
            image = read_image(path)
        except (OSError, ValueError):
            return path, WHOLE  # the predictor says the same of it
        return image, self.find(image)

    def video(self, path: Path) -> None:
        """A video; what was found is written also after an error, in reading or in drawing, and after Ctrl-C."""
        frames: list[list[dict[str, Any]]] = []
        try:
            try:
                self._frames(path, frames)
            finally:
                if frames:
                    content = [{"frame_id": number, "instances": persons} for number, persons in enumerate(frames)]
                    write_json(self.targets.json(path), content)
                    self.count += sum(map(len, frames))
                    self._write_tables(path, range(len(frames)), frames)
        except (OSError, ValueError, TypeError) as error:
            self.failed[path] = error

    def _frames(self, path: Path, frames: list[list[dict[str, Any]]]) -> None:
        rate = frame_rate(path)
        tracker = None if self.track is None else self.track(rate)
        failure: OSError | ValueError | None = None
        with VideoWriter(self.targets.drawing(path), rate) as writer:
            for seen in self.predictor.stream(self._pairs(path)):
                persons, seen = _tracked(seen, tracker)
                frames.append(persons)
                if self.draw and failure is None:
                    try:
                        writer.write(self.draw(seen))
                    except (OSError, ValueError) as error:
                        failure = error
        if failure is not None:
            raise failure

    def _pairs(self, path: Path) -> Iterator[tuple[np.ndarray, Any]]:
        """Each frame and its boxes."""
        frames = progress_bar(path.name, self.quiet, frame_count(path))(read_frames(path))
        if self.find is None:
            yield from zip(frames, self.boxes.of_frames(path), strict=False)
        else:
            yield from ((frame, self.find(frame)) for frame in frames)

    def _write_tables(self, path: Path, index: Any, rows: list[list[dict[str, Any]]]) -> None:
        for table in self.targets.tables(path):
            write_table(table, index, rows, self.predictor.table.names)


def _tracked(seen: Seen, tracker: Tracker | None) -> tuple[list[dict[str, Any]], Seen]:
    """The persons of a frame, with the numbers that a tracker gives them and their keypoints as it has them."""
    if tracker is None:
        return instances(seen.boxes, *seen.prediction), seen
    numbers, keypoints = tracker.update(seen.boxes, seen.prediction.keypoints)
    seen = seen._replace(prediction=Prediction(keypoints, seen.prediction.scores))
    persons = instances(seen.boxes, *seen.prediction)
    return [{**person, "track_id": int(number)} for person, number in zip(persons, numbers, strict=True)], seen
