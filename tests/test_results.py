"""Predictions as files: read back by what their readers use."""

import csv
import json
import os
import sys

import numpy as np
import pytest

from hgfast.data import COCO, MPII, Person, PoseDataset, load_coco
from hgfast.metrics import pckh
from hgfast.results import check_results_path, instances, write_results
from hgfast.train.measures import measure
from tests.test_data_formats import coco_file
from tests.test_data_formats import person as coco_person


@pytest.fixture
def dataset(tmp_path):
    """Four persons in three pictures, two of them in the second."""
    rng = np.random.default_rng(0)
    people = [
        Person(
            tmp_path / f"{name}.jpg",
            rng.uniform(100, 200, 2).astype(np.float32),
            np.float32([120, 150]),
            rng.uniform(0, 300, (16, 2)).astype(np.float32),
            np.ones(16, np.float32),
            head_size=20.0,
            ident=(number, number),
        )
        for number, name in enumerate(("a", "b", "b", "c"))
    ]
    return PoseDataset(people, MPII, (64, 64))


@pytest.fixture
def found(dataset):
    rng = np.random.default_rng(1)
    truth = np.stack([person.keypoints for person in dataset.persons])
    return truth + rng.normal(0, 5, truth.shape).astype(np.float32), rng.uniform(0, 1, (4, 16)).astype(np.float32)


def test_table(dataset, found, tmp_path):
    write_results(tmp_path / "a.csv", dataset, *found, {})
    rows = list(csv.DictReader(open(tmp_path / "a.csv", newline="")))
    assert [row["image"] + row["person"] for row in rows] == ["a.jpg0", "b.jpg1", "b.jpg2", "c.jpg3"]
    assert list(rows[0])[2:5] == ["right_ankle_x", "right_ankle_y", "right_ankle_score"] and len(rows[0]) == 50
    points = [[[float(row[f"{joint}_{axis}"]) for axis in "xy"] for joint in MPII.names] for row in rows]
    np.testing.assert_allclose(points, found[0], rtol=1e-5)
    assert [float(row["left_wrist_score"]) for row in rows] == pytest.approx(found[1][:, 15], rel=1e-5)


def test_json(dataset, found, tmp_path):
    write_results(tmp_path / "a.json", dataset, *found, {"PCKh": 50.0})
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["metrics"] == {"PCKh": 50.0} and tuple(content["keypoint_names"]) == MPII.names
    person, source = content["persons"][2], dataset.persons[2]
    assert (person["image"], person["person"]) == ("b.jpg", 2)
    np.testing.assert_allclose(person["keypoints"], found[0][2], atol=6e-4)
    x1, y1, x2, y2 = person["bbox"][0]
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx(tuple(source.center), abs=1e-3)
    assert (x2 - x1, y2 - y1) == pytest.approx((120, 150), abs=2e-3)


def test_matlab_file_gives_the_score_of_evaluation_scripts(dataset, found, tmp_path):
    """`preds` counts from 1: MMPose's and HRNet's scripts compare it with MPII's annotations as they are."""
    loadmat = pytest.importorskip("scipy.io").loadmat
    write_results(tmp_path / "a.mat", dataset, *found, {})
    content = loadmat(tmp_path / "a.mat")
    assert content["preds"].shape == (4, 16, 2) and content["preds"].dtype == np.float64
    annotated = np.stack([person.keypoints for person in dataset.persons]) + 1
    score = pckh(content["preds"], annotated, np.ones((4, 16)), np.full(4, 20.0))
    measured = measure(dataset, *found)
    assert 0 < score["PCKh@0.1"] < 100 and {name: measured[name] for name in score} == pytest.approx(score)


def test_matlab_file_has_the_toolkits_structure(dataset, found, tmp_path):
    loadmat = pytest.importorskip("scipy.io").loadmat
    write_results(tmp_path / "a.mat", dataset, *found, {})
    pred = loadmat(tmp_path / "a.mat", struct_as_record=False, squeeze_me=True)["pred"]
    assert [entry.image.name for entry in pred] == ["a.jpg", "b.jpg", "c.jpg"]
    second = pred[1].annorect
    assert len(second) == 2
    for rect, person, points in zip(second, dataset.persons[1:3], found[0][1:3], strict=True):
        joints = rect.annopoints.point
        assert [joint.id for joint in joints] == list(range(16))
        np.testing.assert_allclose([[joint.x, joint.y] for joint in joints], points + 1, rtol=1e-6)
        assert (rect.objpos.x, rect.objpos.y) == pytest.approx(tuple(person.center + 1), rel=1e-6)
        assert rect.scale == pytest.approx(150 / 200)


def test_coco_results_file_is_read_by_pycocotools(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    path = coco_file(tmp_path, coco_person(1), coco_person(2, image=2))
    dataset = PoseDataset(load_coco(path, tmp_path), COCO, (64, 64))
    truth = np.stack([person.keypoints for person in dataset.persons])
    write_results(tmp_path / "r.json", dataset, truth, np.ones((2, 17)), {})
    loaded = coco.COCO(str(path)).loadRes(str(tmp_path / "r.json"))
    assert sorted(entry["image_id"] for entry in loaded.anns.values()) == [1, 2]


def same_names(folder, *files):
    """A person in each of pictures, some of which have the same name in different folders."""
    keypoints, visible = np.zeros((16, 2), np.float32), np.ones(16, np.float32)
    size = np.float32([9, 9])
    return PoseDataset(
        [Person(folder / file, size, size, keypoints, visible, ident=(i, i)) for i, file in enumerate(files)],
        MPII,
        (64, 64),
    )


@pytest.mark.parametrize(
    ("files", "root", "names"),
    [
        (("a/1.jpg", "b/1.jpg", "a/1.jpg"), None, ["a/1.jpg", "b/1.jpg", "a/1.jpg"]),
        (("a/1.jpg", "a/2.jpg"), ".", ["a/1.jpg", "a/2.jpg"]),
        (("a/1.jpg", "1.jpg", "../1.jpg"), ".", ["a/1.jpg", "1.jpg", "../1.jpg"]),
    ],
)
def test_pictures_of_one_name_in_two_folders_are_two(files, root, names, tmp_path):
    dataset = same_names(tmp_path, *files)
    found = np.zeros((len(files), 16, 2)), np.ones((len(files), 16))
    for suffix in ("csv", "json"):
        write_results(tmp_path / f"r.{suffix}", dataset, *found, {}, None if root is None else tmp_path / root)
    assert [row["image"] for row in csv.DictReader(open(tmp_path / "r.csv", newline=""))] == names
    assert [person["image"] for person in json.loads((tmp_path / "r.json").read_text())["persons"]] == names


def test_matlab_file_keeps_pictures_of_one_name_apart(tmp_path):
    loadmat = pytest.importorskip("scipy.io").loadmat
    dataset = same_names(tmp_path, "a/1.jpg", "b/1.jpg", os.fsdecode(b"b/\xfc.jpg"), "a/1.jpg")
    write_results(tmp_path / "r.mat", dataset, np.zeros((4, 16, 2)), np.ones((4, 16)), {})
    pred = loadmat(tmp_path / "r.mat", struct_as_record=False, squeeze_me=True)["pred"]
    assert [entry.image.name for entry in pred] == ["a/1.jpg", "b/1.jpg", "b/\\udcfc.jpg"]
    assert [np.size(entry.annorect) for entry in pred] == [2, 1, 1]


def test_names_that_are_not_utf8_and_numbers_that_json_does_not_have(tmp_path):
    dataset = same_names(tmp_path, os.fsdecode(b"\xfc.jpg"))
    found = np.full((1, 16, 2), np.nan), np.ones((1, 16))
    write_results(tmp_path / "r.csv", dataset, *found, {"PCKh": np.nan})
    write_results(tmp_path / "r.json", dataset, *found, {"PCKh": np.nan, "AUC": 0.5})
    (row,) = csv.DictReader(open(tmp_path / "r.csv", newline="", encoding="utf-8"))
    assert row["image"] == "\\udcfc.jpg" and row["left_wrist_x"] == "nan"
    content = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert content["metrics"] == {"PCKh": None, "AUC": 0.5} and content["persons"][0]["image"] == "\udcfc.jpg"
    assert content["persons"][0]["keypoints"][0] == [None, None]


def test_a_missing_package_and_a_path_that_cannot_be_written_are_noticed_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"a.mat: writing a .mat file needs scipy \(pip install .*\[train\]"):
        check_results_path(tmp_path / "a.mat", "mpii")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file/a.csv"):
        check_results_path(tmp_path / "file" / "a.csv", "mpii")


def test_instances_have_mmposes_fields():
    (one,) = instances(np.float32([[1, 2, 3, 4]]), np.full((1, 2, 2), 7.0), np.float32([[0.5, 0.25]]))
    assert one == {
        "keypoints": [[7.0, 7.0], [7.0, 7.0]],
        "keypoint_scores": [0.5, 0.25],
        "bbox": [[1.0, 2.0, 3.0, 4.0]],
        "bbox_score": 1.0,
    }


def test_bad_arguments(dataset, found, tmp_path):
    keypoints, scores = found
    with pytest.raises(ValueError, match="a.txt: expected a name that ends in one of .dlc.csv, .csv, .h5, .*.mat"):
        write_results(tmp_path / "a.txt", dataset, keypoints, scores, {})
    with pytest.raises(ValueError, match=r"keypoints must have shape \(4, 16, 2\), got \(3, 16, 2\)"):
        write_results(tmp_path / "a.csv", dataset, keypoints[:3], scores, {})
    with pytest.raises(ValueError, match=r"scores must have shape \(4, 16\), got \(4, 15\)"):
        write_results(tmp_path / "a.csv", dataset, keypoints, scores[:, :15], {})
    faces = PoseDataset([], COCO, (64, 64))
    with pytest.raises(ValueError, match="MATLAB files are for MPII's keypoints, keypoint_set is 'coco'"):
        write_results(tmp_path / "a.mat", faces, np.zeros((0, 17, 2)), np.zeros((0, 17)), {})
    assert list(tmp_path.iterdir()) == []
