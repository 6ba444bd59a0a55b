"""The keypoint tables of the data sets that hourglass networks were first trained on.

Sources: the MPII and COCO annotation formats, COCO-WholeBody (Jin et al., ECCV 2020) for face and hand, with the
sigmas of each evaluation script.
"""

from __future__ import annotations

from hgfast import _checks
from hgfast.data.keypoint_set import KeypointSet

MPII = KeypointSet(
    name="mpii",
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
        "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
        "left_wrist",
    ),
    pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    skeleton=(
        (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (8, 12), (12, 11), (11, 10), (8, 13),
        (13, 14), (14, 15),
    ),
    sigmas=(
        0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026, 0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062,
    ),
    upper=(7, 8, 9, 10, 11, 12, 13, 14, 15),
)  # fmt: skip

COCO = KeypointSet(
    name="coco",
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ),
    pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    skeleton=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
        (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
        0.089,
    ),
    upper=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
)  # fmt: skip

_FACE_PARTS = (("jaw", 17), ("brow", 10), ("nose", 9), ("eye", 12), ("mouth", 20))


def _face_pairs() -> tuple[tuple[int, int], ...]:
    jaw = [(i, 16 - i) for i in range(8)]
    brows = [(17 + i, 26 - i) for i in range(5)]
    nostrils = [(31, 35), (32, 34)]
    eyes = [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    mouth = [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    return tuple(jaw + brows + nostrils + eyes + mouth)


def _chain(*points: int) -> list[tuple[int, int]]:
    return list(zip(points[:-1], points[1:], strict=True))


def _face_skeleton() -> tuple[tuple[int, int], ...]:
    open_lines = [range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36)]
    closed_lines = [range(36, 42), range(42, 48), range(48, 60), range(60, 68)]
    links = [link for line in open_lines for link in _chain(*line)]
    return tuple(links + [link for line in closed_lines for link in _chain(*line, line[0])])


FACE = KeypointSet(
    name="face",
    names=tuple(f"{part}_{i}" for part, count in _FACE_PARTS for i in range(count)),
    pairs=_face_pairs(),
    skeleton=_face_skeleton(),
    sigmas=(
        0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041,
        0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012,
        0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034,
        0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008,
        0.008, 0.008, 0.010, 0.008,
    ),
)  # fmt: skip

_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")

HAND = KeypointSet(
    name="hand",
    names=("wrist", *(f"{finger}{i}" for finger in _FINGERS for i in range(1, 5))),
    pairs=(),  # a mirrored left hand is a right hand: no joint changes place
    skeleton=tuple(link for f in range(5) for link in _chain(0, *range(4 * f + 1, 4 * f + 5))),
    sigmas=(
        0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026, 0.017, 0.021, 0.021,
        0.032, 0.020, 0.019, 0.022, 0.031,
    ),
)  # fmt: skip

KEYPOINT_SETS: dict[str, KeypointSet] = {table.name: table for table in (MPII, COCO, FACE, HAND)}


def known_name(table: KeypointSet) -> str:
    """Return the name of a table in :data:`KEYPOINT_SETS`; "" for a set of one's own, whatever its name."""
    return table.name if KEYPOINT_SETS.get(table.name) == table else ""


def keypoint_set(name: str) -> KeypointSet:
    """Table by name.

    Raises:
        TypeError, ValueError: there is no table of that name.
    """
    _checks.choice("", "name", name, tuple(KEYPOINT_SETS))
    return KEYPOINT_SETS[name]
