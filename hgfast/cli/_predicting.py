"""The work of ``hgfast predict``: pictures and videos one after the other, each written as soon as it is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hgfast._opencv import cv2
from hgfast.cli._inputs import BoxSource
from hgfast.cli._shares import Outcome
from hgfast.cli._targets import Targets, write_table
from hgfast.cli._text import one_line
from hgfast.data import read_image
from hgfast.data.video import VideoWriter, frame_count, frame_rate, read_frames
from hgfast.files import atomic_write, write_json
from hgfast.predict import Detector, Prediction, Predictor, Seen, Tracker
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
        finished: told of each input whose results are all written, and of its persons.
        outcome: what became of the inputs so far.
    """

    predictor: Predictor
    boxes: BoxSource
    find: Detector | None
    targets: Targets
    draw: Callable[[Seen], np.ndarray] | None
    track: Callable[[float], Tracker] | None
    quiet: bool
    finished: Callable[[Path, int], None]
    outcome: Outcome = field(default_factory=Outcome)
    _box_scores: deque[np.ndarray] = field(default_factory=deque)  # of pictures whose persons are still to come

    def pictures(self, paths: list[Path]) -> None:
        """Write pictures, but for the table of them all."""
        bar = progress_bar("pictures", self.quiet or not paths)
        pairs = (self._picture(path) for path in bar(paths))
        stream = self.predictor.stream(pairs, lambda number, error: self._fail(paths[number], error))
        used = (path for path in paths if path not in self.outcome.failed)  # asked only for what the stream has passed
        for seen in stream:
            path = next(used)
            persons = self._persons(seen)
            try:
                write_json(self.targets.json(path), persons)
                if self.draw:
                    with atomic_write(self.targets.drawing(path)) as file:
                        file.write(cv2.imencode(".png", self.draw(seen))[1].tobytes())
                self.outcome.count += len(persons)
                self._done(path, len(persons))
            except OSError as error:
                self._fail(path, error)

    def _done(self, path: Path, persons: int) -> None:
        self.finished(path, persons)
        self.outcome.done[path] = persons

    def _fail(self, path: Path, error: Exception) -> None:
        name = "" if str(path) in str(error) else f"{path}: "
        self.outcome.failed[path] = f"{name}{one_line(error)}"

    def _picture(self, path: Path) -> tuple[Any, Any]:
        """Return a picture and its boxes."""
        if self.find is None:
            return path, self.boxes.of_picture(path)
        try:
            image = read_image(path)
        except (OSError, ValueError):
            return path, WHOLE  # the predictor says the same of it
        return image, self._found(image, self.find)

    def _found(self, image: np.ndarray, find: Detector) -> np.ndarray:
        """Return boxes; their scores wait for the keypoints."""
        boxes, scores = find.detect(image)
        self._box_scores.append(scores)
        return boxes

    def _persons(self, seen: Seen) -> list[dict[str, Any]]:
        """Return the persons of a picture, as MMPose writes them."""
        return instances(seen.boxes, *seen.prediction, None if self.find is None else self._box_scores.popleft())

    def video(self, path: Path) -> None:
        """Write what is found in a video, also after an error in reading or in drawing, and after Ctrl-C."""
        frames: list[list[dict[str, Any]]] = []
        try:
            try:
                self._frames(path, frames)
            finally:
                if frames:
                    content = [{"frame_id": number, "instances": persons} for number, persons in enumerate(frames)]
                    write_json(self.targets.json(path), content)
                    self.outcome.count += sum(map(len, frames))
                    for table in self.targets.tables(path):
                        write_table(table, range(len(frames)), frames, self.predictor.table.names)
            self._done(path, sum(map(len, frames)))
        except (OSError, ValueError, TypeError) as error:
            self._fail(path, error)

    def _frames(self, path: Path, frames: list[list[dict[str, Any]]]) -> None:
        rate = frame_rate(path)
        tracker = None if self.track is None else self.track(rate)
        failure: OSError | ValueError | None = None
        with VideoWriter(self.targets.drawing(path), rate) as writer:
            for seen in self.predictor.stream(self._pairs(path)):
                numbers, seen = _tracked(seen, tracker)
                frames.append(
                    [{**person, **number} for person, number in zip(self._persons(seen), numbers, strict=True)]
                )
                if self.draw and failure is None:
                    try:
                        writer.write(self.draw(seen))
                    except (OSError, ValueError) as error:
                        failure = error
        if failure is not None:
            raise failure

    def _pairs(self, path: Path) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield each frame and its boxes."""
        frames = progress_bar(path.name, self.quiet, frame_count(path))(read_frames(path))
        if self.find is None:
            yield from zip(frames, self.boxes.of_frames(path), strict=False)
        else:
            yield from ((frame, self._found(frame, self.find)) for frame in frames)


def _tracked(seen: Seen, tracker: Tracker | None) -> tuple[list[dict[str, int]], Seen]:
    """Return what a tracker says of each person of a frame, and the frame with the keypoints as it has them."""
    if tracker is None:
        return [{}] * len(seen.boxes), seen
    numbers, keypoints = tracker.update(seen.boxes, seen.prediction.keypoints)
    seen = seen._replace(prediction=Prediction(keypoints, seen.prediction.scores))
    return [{"track_id": int(number)} for number in numbers], seen
