"""Who is who from frame to frame: individuals matched by the similarity of their keypoints or boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast.data.keypoint_set import KeypointSet
from hgfast.predict.smoothing import OneEuro

MEASURES = ("oks", "iou")


@dataclass
class _Track:
    """An individual: where it was last, and in which frame."""

    ident: int
    keypoints: np.ndarray
    box: np.ndarray
    seen: int
    filter: OneEuro | None


class Tracker:
    """Numbers individuals across the frames of a video.

    Each frame's individuals are matched with those of earlier frames, the most alike first; who is like nobody gets a
    new number, and who is not seen for ``patience`` frames is forgotten. There is no model of motion or appearance.

    Args:
        keypoints: whose tolerances the OKS takes.
        measure: "oks", object keypoint similarity, or "iou", intersection over union of the boxes.
        least: similarity below which two are not the same, 0 to 1. With boxes that are the same in all frames use
            "oks".
        patience: frames.
        rate: frames a second, for ``smooth``.
        smooth: whether the keypoints are smoothed by a One Euro filter (Casiez et al., CHI 2012).

    Raises:
        TypeError, ValueError: an argument of another kind, or out of range.
    """

    def __init__(
        self,
        keypoints: KeypointSet,
        measure: str = "oks",
        *,
        least: float = 0.3,
        patience: int = 30,
        rate: float = 25.0,
        smooth: bool = False,
    ) -> None:
        where = "Tracker"
        _checks.instance(where, "keypoints", keypoints, KeypointSet)
        _checks.choice(where, "measure", measure, MEASURES)
        self.table, self.measure = keypoints, measure
        self.least = _checks.number(where, "least", least, minimum=0, maximum=1)
        self.patience = _checks.integer(where, "patience", patience, 0)
        self.rate = _checks.number(where, "rate", rate, above=0)
        self.smooth = _checks.flag(where, "smooth", smooth)
        self._tracks: list[_Track] = []
        self._frame, self._next = -1, 1

    def update(self, boxes: Any, keypoints: Any) -> tuple[np.ndarray, np.ndarray]:
        """Follow persons into the next frame.

        Args:
            boxes: (P, 4) x1, y1, x2, y2.
            keypoints: (P, K, 2) in pixels, finite.

        Returns:
            numbers (P,) int64, counted from 1, and the keypoints (P, K, 2) float32, smoothed if that was asked for.

        Raises:
            TypeError, ValueError: arrays of another kind or shape.
        """
        boxes = _checks.array("Tracker.update", "boxes", boxes, (None, 4), finite=True).astype(np.float64)
        shape = (len(boxes), self.table.count, 2)
        points = _checks.array("Tracker.update", "keypoints", keypoints, shape, finite=True, why="as boxes").astype(
            np.float64
        )
        self._frame += 1
        self._tracks = [track for track in self._tracks if self._frame - track.seen <= self.patience + 1]
        known = dict(self._matches(boxes, points))
        numbers, found = np.zeros(len(boxes), np.int64), points.astype(np.float32)
        for person, (box, joints) in enumerate(zip(boxes, points, strict=True)):
            track = self._tracks[known[person]] if person in known else self._new()
            pause = self._frame - track.seen
            track.keypoints, track.box, track.seen = joints, box, self._frame
            numbers[person] = track.ident
            if track.filter is not None:
                found[person] = track.filter(joints, pause / self.rate)
        return numbers, found

    def _new(self) -> _Track:
        nothing = np.zeros(0)
        track = _Track(self._next, nothing, nothing, self._frame - 1, OneEuro() if self.smooth else None)
        self._next += 1
        self._tracks.append(track)
        return track

    def _matches(self, boxes: np.ndarray, points: np.ndarray) -> list[tuple[int, int]]:
        """Return the pairs of a person of the frame and a track, the most alike first."""
        if not self._tracks or not len(boxes):
            return []
        old_boxes = np.stack([track.box for track in self._tracks])
        if self.measure == "iou":
            alike = _overlaps(boxes, old_boxes)
        else:
            old = np.stack([track.keypoints for track in self._tracks])
            alike = _similarities(points, old, _areas(old_boxes), np.asarray(self.table.sigmas))
        pairs: list[tuple[int, int]] = []
        for place in np.argsort(-alike, axis=None, kind="stable"):
            person, track = divmod(int(place), alike.shape[1])
            if alike[person, track] < self.least:
                break
            if all(person != p and track != t for p, t in pairs):
                pairs.append((person, track))
        return pairs


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1.0)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, (A, B)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    return common / (_areas(a)[:, None] + _areas(b)[None] - common)


def _similarities(a: np.ndarray, b: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """OKS of individuals a (A, K, 2) with b (B, K, 2), whose boxes have these areas; (A, B)."""
    squares = ((a[:, None] - b[None]) ** 2).sum(axis=3)
    return np.exp(-squares / (2 * areas[None, :, None] * (2 * sigmas) ** 2)).mean(axis=2)
