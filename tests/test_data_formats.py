"""Readers of COCO, COCO-WholeBody and princeton-vl annotations, and COCO's AP."""

import json

import h5py
import numpy as np
import pytest

from hgfast.data import (
    COCO,
    FACE,
    HAND,
    AnnotationError,
    PoseDataset,
    load_coco,
    load_coco_detections,
    load_mpii,
    load_princeton,
)
from hgfast.data.hdf5 import check_strings
from hgfast.metrics import coco_ap, coco_results, oks, oks_nms
from hgfast.train.measures import measure


def person(number, image=1, x=20.0, y=10.0, width=60.0, height=120.0, **more):
    rng = np.random.default_rng(number)
    points = np.c_[x + rng.uniform(0, width, 17), y + rng.uniform(0, height, 17), np.full(17, 2)]
    entry = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "area": width * height / 2}
    return entry | {"bbox": [x, y, width, height], "keypoints": points.ravel().tolist(), "num_keypoints": 17} | more


def coco_file(tmp_path, *annotations):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 160} for i in (1, 2)]
    path = tmp_path / "coco.json"
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO.names), "skeleton": []}]
    path.write_text(json.dumps({"images": images, "annotations": list(annotations), "categories": categories}))
    return path


def test_coco_persons(tmp_path):
    unlabelled = person(5, keypoints=[0] * 51)
    path = coco_file(
        tmp_path,
        person(3),
        person(4, image=2, x=-30.0, y=100.0),
        unlabelled,
        person(6, iscrowd=1, keypoints=[1] * 51),
        person(7, bbox=[250, 10, 20, 20]),
    )
    first, second = load_coco(path, tmp_path)
    assert first.center.tolist() == [50, 70] and first.size.tolist() == [60, 120] and first.ident == (1, 3)
    assert first.area == 3600 and (first.visible == 1).all() and first.image == tmp_path / "1.jpg"
    assert second.center.tolist() == [15, 129.5] and second.size.tolist() == [30, 59]  # cut off at the last pixels
    np.testing.assert_allclose(first.keypoints.ravel(), np.reshape(person(3)["keypoints"], (17, 3))[:, :2].ravel())


def test_whole_body_faces_and_hands(tmp_path):
    face = np.c_[np.random.default_rng(0).uniform(30, 60, (68, 2)), np.ones(68)].ravel().tolist()
    hand = np.c_[np.random.default_rng(1).uniform(60, 80, (21, 2)), np.ones(21)].ravel().tolist()
    entry = person(
        1, face_kpts=face, face_box=[30, 30, 30, 40], face_valid=True,
        lefthand_kpts=hand, lefthand_box=[60, 60, 20, 20], lefthand_valid=False,
        righthand_kpts=hand, righthand_box=[60, 60, 24, 20], righthand_valid=True,
    )  # fmt: skip
    path = coco_file(tmp_path, entry)
    (one,) = load_coco(path, tmp_path, FACE)
    assert one.keypoints.shape == (68, 2) and one.size.tolist() == [30, 40]
    (right,) = load_coco(path, tmp_path, HAND)
    assert right.size.tolist() == [24, 20]


def test_measures_of_faces_and_hands(tmp_path):
    face = np.c_[np.random.default_rng(0).uniform(30, 60, (68, 2)), np.ones(68)].ravel().tolist()
    hand = np.c_[np.random.default_rng(1).uniform(60, 80, (21, 2)), np.ones(21)].ravel().tolist()
    entry = person(1, face_kpts=face, face_box=[30, 30, 30, 40], face_valid=True)
    entry |= {"lefthand_kpts": hand, "lefthand_box": [60, 60, 20, 30], "lefthand_valid": True}
    path = coco_file(tmp_path, entry)
    faces = PoseDataset(load_coco(path, tmp_path, FACE), FACE, (64, 64))
    truth = faces.persons[0].keypoints
    off = truth[None] + np.float32([3, 4])
    expected = 5 / np.linalg.norm(truth[36] - truth[45])
    assert measure(faces, off, np.ones((1, 68)))["NME"] == pytest.approx(expected, rel=1e-5)
    hands = PoseDataset(load_coco(path, tmp_path, HAND), HAND, (64, 64))
    result = measure(hands, hands.persons[0].keypoints[None] + np.float32([3, 4]), np.ones((1, 21)))
    assert result == pytest.approx({"PCK": 100, "AUC": 16 / 20, "EPE": 5}, rel=1e-5)  # 5/30 < 4/20, 5 < 0.2 * 30


def test_average_precision(tmp_path):
    path = coco_file(tmp_path, person(1), person(2, image=2), person(3, image=2, x=90.0))
    dataset = PoseDataset(load_coco(path, tmp_path), COCO, (64, 64))
    truth = np.stack([p.keypoints for p in dataset.persons])
    perfect = measure(dataset, truth, np.ones((3, 17)), path)
    assert perfect["AP"] == perfect["AP50"] == perfect["AR"] == pytest.approx(100)
    one_wrong = truth.copy()
    one_wrong[2] += 500
    assert measure(dataset, one_wrong, np.ones((3, 17)), path)["AR"] == pytest.approx(200 / 3)
    assert coco_ap(path, [], np.array(COCO.sigmas))["AP"] == 0
    small_error = measure(dataset, truth + np.float32(3), np.ones((3, 17)), path)
    assert small_error["AP50"] == pytest.approx(100) and 0 < small_error["AP"] < 100


def test_oks_and_its_suppression():
    sigmas = np.array(COCO.sigmas)
    points = np.random.default_rng(0).uniform(0, 100, (17, 2))
    assert oks(points, points, 1000, sigmas) == 1
    moved = points + [2 * sigmas[0] * np.sqrt(2 * 1000), 0]  # the nose by one unit of its own tolerance
    assert oks(points[:1], moved[:1], 1000, sigmas[:1]) == pytest.approx(np.exp(-1))
    three = np.stack([points, points + 0.1, points + 60])
    assert oks_nms(three, np.array([0.5, 0.9, 0.7]), np.full(3, 1000.0), sigmas) == [1, 2]


def test_results_are_scored_as_in_mmpose():
    keypoints = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
    scores = np.full((2, 17), 0.8)
    scores[0, :5] = 0.1  # joints below 0.2 do not count in the mean
    entries = coco_results(
        np.array([7, 8]), keypoints, scores, np.array([0.5, 1.0]), np.full(2, 1e3), np.array(COCO.sigmas)
    )
    assert [(e["image_id"], e["score"]) for e in entries] == [(7, pytest.approx(0.4)), (8, pytest.approx(0.8))]
    assert entries[0]["keypoints"][:3] == pytest.approx([*keypoints[0, 0], 0.1])


def test_detections(tmp_path):
    path = coco_file(tmp_path, person(1))
    found = [
        {"image_id": 1, "category_id": 1, "bbox": [10, 20, 40, 60], "score": 0.9},
        {"image_id": 1, "category_id": 2, "bbox": [10, 20, 40, 60], "score": 0.9},
        {"image_id": 2, "category_id": 1, "bbox": [10, 20, -1, 60], "score": 0.9},
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.1},
    ]
    detections = tmp_path / "boxes.json"
    detections.write_text(json.dumps(found))
    (one,) = load_coco_detections(path, tmp_path, detections, min_score=0.5)
    assert one.center.tolist() == [30, 50] and one.box_score == pytest.approx(0.9) and one.visible.sum() == 0
    flat = found[0] | {"image_id": 2, "bbox": [10, 20, 0, 60]}
    detections.write_text(json.dumps([flat, flat | {"category_id": None}]))
    first, second = load_coco_detections(path, tmp_path, detections)
    assert first.size.tolist() == second.size.tolist() == [0, 60]  # kept, as MMPose does
    detections.write_text(json.dumps([found[0] | {"image_id": 99}]))
    with pytest.raises(AnnotationError, match="boxes.json: entry 0: field 'image_id'"):
        load_coco_detections(path, tmp_path, detections)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "field 'images' is missing"),
        ({"images": [], "annotations": 3}, "field 'annotations' is missing or not a list"),
        ({"images": [{"id": 1}], "annotations": []}, r"images\[0\]: field 'file_name' is missing"),
        ({"images": [], "annotations": [{"image_id": 4}]}, r"annotations\[0\]: field 'image_id'"),
    ],
)
def test_broken_coco_files(tmp_path, content, message):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=message):
        load_coco(path, tmp_path)
    with pytest.raises(AnnotationError, match=r"keypoints': expected shape \(51,\)"):
        load_coco(coco_file(tmp_path, person(1, keypoints=[1, 2, 3])), tmp_path)


def write_h5(path, entries, leave_out=""):
    """princeton-vl's form of MPII entries: moved and enlarged boxes, unlabelled joints at 0."""
    h5py = pytest.importorskip("h5py")
    scale = np.array([e["scale"] for e in entries])
    center = np.array([e["center"] for e in entries], float)
    center[:, 1] += 15 * scale
    part = np.array([e["joints"] for e in entries], float)
    part[np.array([e["joints_vis"] for e in entries]) == 0] = 0
    fields = {"center": center, "scale": 1.25 * scale, "part": part}
    fields["imgname"] = [e["image"].encode() for e in entries]
    fields["normalize"] = [e["head_size"] for e in entries]
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            if name != leave_out:
                file[name] = value


def test_princeton_file_gives_the_same_persons(tmp_path):
    rng = np.random.default_rng(0)
    entries = []
    for i in range(4):
        visible = (rng.random(16) < 0.8).astype(int)
        joints = np.where(visible[:, None] > 0, rng.integers(1, 300, (16, 2)), -1)
        entry = {"image": f"{i}.jpg", "center": [100 + i, 90], "scale": 0.8 + 0.1 * i, "head_size": 20.5 + i}
        entries.append(entry | {"joints": joints.tolist(), "joints_vis": visible.tolist()})
    (tmp_path / "a.json").write_text(json.dumps(entries))
    write_h5(tmp_path / "a.h5", entries)
    for origin in (0, 1):
        ours = load_mpii(tmp_path / "a.json", tmp_path, origin)
        theirs = load_princeton(tmp_path / "a.h5", tmp_path, origin)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.center, b.center, rtol=1e-6)
            np.testing.assert_allclose(a.size, b.size, rtol=1e-6)
            np.testing.assert_array_equal(a.visible, b.visible)
            np.testing.assert_array_equal(a.keypoints[a.visible > 0], b.keypoints[b.visible > 0])
            assert (a.image, a.head_size) == (b.image, b.head_size)


def test_broken_princeton_files(tmp_path):
    entry = {"image": "a", "center": [1, 2], "scale": 1, "joints": [[1, 1]] * 16, "joints_vis": [1] * 16}
    write_h5(tmp_path / "a.h5", [entry | {"head_size": 2}], leave_out="part")
    with pytest.raises(AnnotationError, match="a.h5: field 'part' is missing"):
        load_princeton(tmp_path / "a.h5", tmp_path)
    (tmp_path / "b.h5").write_text("no")
    with pytest.raises(AnnotationError, match="b.h5: not an HDF5 file"):
        load_princeton(tmp_path / "b.h5", tmp_path)
    with pytest.raises(FileNotFoundError, match="c.h5: annotation file not found"):
        load_princeton(tmp_path / "c.h5", tmp_path)


@pytest.mark.parametrize("chunks", [None, True])
def test_strings_are_not_longer_than_their_file(tmp_path, chunks):
    """HDF5's library takes the memory that a damaged length names before it looks for the string."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("imgname", data=["a.jpg", "b.jpg"], chunks=chunks)
        check_strings(data)
        place = data.id.get_offset() if chunks is None else data.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 16 : place + 20] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(content)
    with h5py.File(path) as file, pytest.raises(ValueError, match="a string of 1073741824 bytes in a file of"):
        check_strings(file["imgname"])
