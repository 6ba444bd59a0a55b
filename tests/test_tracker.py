"""Numbers of individuals across frames, by keypoints and by boxes, and the smoothing of what they do."""

from __future__ import annotations

import numpy as np
import pytest

from hgfast.data import KeypointSet
from hgfast.predict import Tracker

TABLE = KeypointSet("three", ("a", "b", "c"))
SHAPE = np.array([[10, 10], [50, 20], [30, 80]], float)


def frame(*places: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and keypoints of individuals at these places."""
    boxes = np.array([[x, y, x + 60, y + 90] for x, y in places]).reshape(-1, 4)
    return boxes, np.array([SHAPE + place for place in places]).reshape(-1, 3, 2)


@pytest.mark.parametrize("measure", ["oks", "iou"])
def test_individuals_keep_their_numbers_in_any_order(measure: str) -> None:
    tracker = Tracker(TABLE, measure)
    assert tracker.update(*frame((0, 0), (200, 0)))[0].tolist() == [1, 2]
    assert tracker.update(*frame((205, 3), (5, 2)))[0].tolist() == [2, 1]
    assert tracker.update(*frame((10, 4), (400, 0), (210, 6)))[0].tolist() == [1, 3, 2]
    assert tracker.update(*frame())[0].tolist() == []
    numbers, points = tracker.update(*frame((215, 6), (14, 4)))
    assert numbers.tolist() == [2, 1] and points.dtype == np.float32
    np.testing.assert_array_equal(points, frame((215, 6), (14, 4))[1])


def test_the_most_alike_come_first() -> None:
    """One moves on, and another one comes to where it was."""
    tracker = Tracker(TABLE, "iou", least=0.1)
    tracker.update(*frame((0, 0)))
    assert tracker.update(*frame((30, 0), (4, 0)))[0].tolist() == [2, 1]


def test_who_is_gone_for_long_is_forgotten() -> None:
    tracker = Tracker(TABLE, patience=2)
    tracker.update(*frame((0, 0)))
    for count, number in ((2, 1), (3, 2)):
        for _ in range(count):
            tracker.update(*frame())
        assert tracker.update(*frame((0, 0)))[0].tolist() == [number]


def test_boxes_that_are_the_same_in_all_frames_are_told_apart_by_keypoints() -> None:
    boxes, tracker = np.tile([[0.0, 0, 300, 300]], (2, 1)), Tracker(TABLE)
    one, two = SHAPE, SHAPE + 150
    assert tracker.update(boxes, [one, two])[0].tolist() == [1, 2]
    assert tracker.update(boxes, [two + 1, one + 1])[0].tolist() == [2, 1]


def test_smoothing_calms_what_rests_and_follows_what_moves() -> None:
    random = np.random.default_rng(0)
    tracker, rest = Tracker(TABLE, rate=30, smooth=True), []
    for _ in range(60):
        boxes, points = frame((0, 0))
        rest.append(tracker.update(boxes, points + random.normal(0, 1, points.shape))[1][0] - SHAPE)
    assert np.std(rest[10:]) < 0.5
    for step in range(1, 31):  # 12 pixels a frame
        numbers, points = tracker.update(*frame((12.0 * step, 0)))
    assert numbers.tolist() == [1] and np.abs(points[0] - SHAPE - (360, 0)).max() < 25


def test_bad_arguments() -> None:
    for options, message in (
        ({"measure": "name"}, "Tracker: measure must be one of 'oks', 'iou'"),
        ({"least": 2}, "Tracker: least must be at most 1"),
        ({"patience": -1}, "Tracker: patience must be at least 0"),
        ({"rate": 0}, "Tracker: rate must be"),
        ({"keypoints": "coco"}, "Tracker: keypoints must be a KeypointSet"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Tracker(**({"keypoints": TABLE} | options))
    boxes, points = frame((0, 0))
    for given in ((boxes, points[:, :2]), (boxes[:, :2], points), (boxes, points * np.nan), (boxes, points[:0])):
        with pytest.raises(ValueError, match="Tracker.update: (boxes|keypoints) must"):
            Tracker(TABLE).update(*given)
