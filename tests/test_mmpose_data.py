"""Data sets, augmentation and measures against MMPose 1.3.2's own code, on made-up scenes.

tests/data/mmpose_data.json holds the scenes and what MMPose's classes made of them, as they come from PyPI (with
mmengine 0.10.7, mmcv-lite 2.1.0, xtcocotools 1.14.3 and NumPy 2.4): a COCO file of persons drawn from
numpy.random.RandomState(7), some beyond the picture's border, a crowd, one without keypoints; a file of detections,
two of them without width or height; for both the data list of CocoDataset after GetBBoxCenterScale and TopdownAffine,
predictions (the truth with noise, near twins with equal scores), and CocoMetric's ten numbers at three input sizes; a
file of COCO-WholeBody and the boxes of its hands and faces; PCK, AUC, EPE and NME (keypoint_eval) of arrays drawn from
RandomState(5); and quantiles of 400,000 draws of RandomBBoxTransform().
"""

import json
from pathlib import Path

import numpy as np
import pytest

from hgfast.data import COCO, FACE, HAND, Augmentation, PoseDataset, load_coco, load_coco_detections
from hgfast.metrics import auc, epe, nme, pck
from hgfast.train.measures import measure


@pytest.fixture(scope="module")
def golden():
    return json.loads((Path(__file__).parent / "data" / "mmpose_data.json").read_text(encoding="utf-8"))


def write(folder, name, content):
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("scene", [0, 1])
def test_all_ten_numbers_of_coco_are_mmposes(golden, tmp_path, scene):
    path, expected = write(tmp_path, "coco.json", golden["coco"]), golden["scenes"][scene]
    if expected["detections"]:
        persons = load_coco_detections(path, tmp_path, write(tmp_path, "boxes.json", golden["detections"]))
        theirs = expected["persons"]  # both in the order of the file
    else:
        persons = load_coco(path, tmp_path)
        by_ident = {(person["img_id"], person["id"]): person for person in expected["persons"]}
        theirs = [by_ident.pop(person.ident) for person in persons]
        assert not by_ident
    assert [person.ident[0] for person in persons] == [person["img_id"] for person in theirs]
    np.testing.assert_array_equal([person.center for person in persons], [person["center"] for person in theirs])
    points = np.array([person["keypoints"] for person in theirs], np.float32)
    scores = np.array([person["scores"] for person in theirs], np.float32)
    for size, numbers in expected["measures"]:
        ours = measure(PoseDataset(persons, COCO, tuple(size)), points, scores, path)
        assert list(ours.values()) == [100 * number for number in numbers]
    sizes_matter = len({tuple(numbers) for _, numbers in expected["measures"]}) > 1  # OKS suppression's area is theirs
    assert sizes_matter == expected["detections"]


@pytest.mark.parametrize(("name", "table"), [("hand", HAND), ("face", FACE)])
def test_boxes_of_hands_and_faces_are_mmposes(golden, tmp_path, name, table):
    persons = load_coco(write(tmp_path, "whole.json", golden["whole_body"]), tmp_path, table)
    ours = sorted([p.ident[0], *p.center.tolist(), *(p.size * np.float32(1.25)).tolist()] for p in persons)
    np.testing.assert_array_equal(ours, sorted(golden["parts"][name]))


def test_measures_of_points_are_mmposes(golden):
    """But for what has no visible point: 0 there, NaN here, which no one takes for a measure."""
    rs = np.random.RandomState(5)
    gt = rs.uniform(0, 200, (20, 21, 2))
    pred = gt + rs.normal(0, 8, gt.shape) * rs.uniform(0.1, 3, (20, 1, 1))
    visible, size = rs.rand(20, 21) < 0.7, rs.uniform(20, 90, 20)
    visible[:, 4], size[3] = False, 0
    for shown, expected in ((visible, golden["measures"]), (np.zeros_like(visible), golden["measures_of_nothing"])):
        ours = {
            "PCK": pck(pred, gt, shown, size)["PCK"] / 100,
            "AUC": auc(pred, gt, shown),
            "EPE": epe(pred, gt, shown),
            "NME": nme(pred, gt, shown, size),
        }
        if shown.any():
            assert ours == pytest.approx(expected, rel=1e-6)
        else:
            assert set(expected.values()) == {0} and all(np.isnan(value) for value in ours.values())


def test_augmentation_draws_as_mmpose_does(golden):
    rng, expected = np.random.default_rng(1), golden["draws"]
    changes = [Augmentation(shift_prob=0.3).draw(rng) for _ in range(30_000)]
    shift = np.array([change.shift for change in changes])
    rotation = np.array([change.rotation for change in changes])
    scale = np.array([change.scale for change in changes])
    moved = (shift != 0).any(axis=1)
    for name, values in (("scale", scale), ("rotation", rotation[rotation != 0]), ("shift", shift[moved])):
        theirs = np.array(expected[name])
        ours = np.quantile(values, np.linspace(0, 1, len(theirs)))
        assert np.abs(ours - theirs).max() < 0.015 * (theirs[-1] - theirs[0]), name
    assert scale.std() == pytest.approx(expected["scale_deviation"], rel=0.02)
    assert rotation[rotation != 0].std() == pytest.approx(expected["rotation_deviation"], rel=0.02)
    assert np.mean(rotation != 0) == pytest.approx(expected["rotated"], abs=0.015)
    assert moved.mean() == pytest.approx(expected["moved"], abs=0.015)
    assert ((shift != 0).sum(axis=1) == 1).mean() == expected["moved_in_one_axis"] == 0
