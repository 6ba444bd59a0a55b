"""Every public function of hgfast.data answers a spoiled argument by an error that names it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hgfast.data import (
    COCO,
    MPII,
    Augmentation,
    Change,
    EpochSampler,
    KeypointSet,
    Person,
    PoseDataset,
    crop,
    keypoint_set,
    load_coco,
    load_coco_detections,
    load_mpii,
    load_princeton,
    network_input,
    person_matrix,
    read_image,
)
from hgfast.data.augment import half_body
from hgfast.data.cache import FileCache, ImageCache
from hgfast.data.colour import Colour
from hgfast.data.figures import draw_pose, paint_figure
from hgfast.data.images import reduced_origin, reduction
from hgfast.data.synthetic import draw_sample, write_set

POINTS = np.zeros((16, 2), np.float32)
PERSON = Person(Path("a.jpg"), POINTS[0], POINTS[0], POINTS, POINTS[:, 0])
RNG = np.random.default_rng(0)
IMAGE = np.zeros((4, 4, 3), np.uint8)
PATH = {"annotations": "none.json", "images": "pictures"}
TABLE = {"name": "own", "names": ("a", "b"), "pairs": ((0, 1),), "skeleton": (), "sigmas": (0.1, 0.1), "upper": ()}
DATASET = {"persons": [PERSON], "table": MPII, "input_size": (64, 64), "padding": 1.25, "augment": None, "seed": 0}

# function, good arguments, and what is wrong for each
CASES = [
    (load_coco, PATH | {"table": COCO}, {"annotations": 3, "images": None, "table": "coco"}),
    (load_coco_detections, PATH | {"detections": "d", "min_score": 0.0}, {"images": "", "min_score": float("nan")}),
    (load_mpii, PATH | {"pixel_origin": 0}, {"annotations": "a\0", "images": 3, "pixel_origin": 2}),
    (load_princeton, PATH | {"pixel_origin": 0}, {"annotations": b"a", "images": [], "pixel_origin": True}),
    (read_image, {"path": "a.jpg", "reduce": 1}, {"path": None, "reduce": 3}),
    (reduced_origin, {"path": "a.jpg", "reduce": 1}, {"path": "", "reduce": 2.0}),
    (reduction, {"path": "a.jpg", "matrix": np.eye(2, 3)}, {"path": 3, "matrix": np.full((2, 3), np.nan)}),
    (
        person_matrix,
        {"center": [1, 2], "size": [3, 4], "out": (8, 8), "rotation": 0.0, "flip": False, "udp": False},
        {"center": [1], "size": [-1, 4], "out": (0, 8), "rotation": float("inf"), "flip": 2, "udp": "no"},
    ),
    (
        crop,
        {"image": IMAGE, "matrix": np.eye(2, 3), "out": (4, 4), "reduce": 2, "origin": (0, 0)},
        {"image": IMAGE[..., 0], "matrix": np.eye(3), "out": (4, 2**31), "reduce": 5, "origin": (0.5, 0)},
    ),
    (
        network_input,
        {"images": torch.zeros(1, 4, 4, 3, dtype=torch.uint8), "mean": (0, 0, 0), "std": (1, 1, 1)},
        {"images": torch.zeros(1, 4, 4, 4, dtype=torch.uint8), "mean": (0, float("nan"), 0), "std": (1, 0, 1)},
    ),
    (keypoint_set, {"name": "mpii"}, {"name": 3}),
    (
        KeypointSet,
        TABLE,
        {"name": 3, "names": "ab", "pairs": ((0, 2),), "skeleton": ((0,),), "sigmas": (0.1,), "upper": (-1,)},
    ),
    (
        PoseDataset,
        DATASET | {"udp": False, "fast_decode": False, "cache_mb": 0},
        {"persons": [3], "table": "mpii", "input_size": 64, "padding": float("nan"), "augment": {}, "seed": -1}
        | {"udp": 1, "fast_decode": None},
    ),
    (EpochSampler, {"count": 4, "batch_size": 2}, {"count": -1, "batch_size": 0}),
    (Augmentation, {"rotation": 0.0, "shift": 0.1, "scale": 0.5}, {"rotation": np.inf, "shift": None, "scale": "1"}),
    (
        Change,
        {"flip": True, "scale": 1.0, "rotation": 0.0, "shift": (0, 0), "colour": None},
        {"flip": 1, "scale": -1.0, "rotation": np.nan, "shift": (0,), "colour": "red"},
    ),
    (Colour, {"hue": 0.0, "contrast": 1.0}, {"hue": np.nan, "contrast": "1"}),
    (Colour().apply, {"image": IMAGE}, {"image": IMAGE.astype(float)}),
    (
        half_body,
        {"keypoints": POINTS, "visible": POINTS[:, 0], "table": MPII, "rng": RNG},
        {"keypoints": POINTS[:3], "visible": [1], "table": None, "rng": 3},
    ),
    (ImageCache, {"cache_mb": 0, "folder": ""}, {"cache_mb": -1, "folder": 3}),
    (FileCache, {"folder": "cache"}, {"folder": None}),
    (draw_sample, {"seed": 0, "number": 0}, {"seed": -1, "number": 0.5}),
    (write_set, {"folder": "f", "count": 0, "seed": 0, "name": "n"},
     {"folder": 1, "count": -1, "seed": "", "name": "a/b"}),
    (draw_pose, {"rng": RNG, "center": [0, 0], "height": 9.0}, {"rng": 0, "center": [0], "height": 0.0}),
    (
        paint_figure,
        {"canvas": IMAGE, "figure": draw_pose(RNG, np.zeros(2), 9.0), "rng": RNG},
        {"canvas": IMAGE[..., 0], "figure": None, "rng": None},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "arguments", "name", "value"),
    [(f, good, name, value) for f, good, wrong in CASES for name, value in wrong.items()],
)
def test_a_spoiled_argument_is_named(function, arguments, name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
        function(**arguments | {name: value})


def test_persons_of_wrong_shapes_are_named():
    for field, value in (("center", POINTS), ("visible", POINTS), ("keypoints", POINTS[:3])):
        person = Person(**{**vars(PERSON), field: value})
        with pytest.raises(ValueError, match=rf"^persons: expected 16 keypoints .mpii.; persons.1..{field} must"):
            PoseDataset([PERSON, person], MPII, (64, 64))
