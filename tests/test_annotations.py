"""Annotation files as people make them: what may be missing is filled, everything else is said with file and field."""

import json

import numpy as np
import pytest

from hgfast.data import (
    COCO,
    AnnotationError,
    PoseDataset,
    load_coco,
    load_coco_detections,
    load_mpii,
    load_princeton,
)
from hgfast.metrics import coco_ap, coco_results
from hgfast.train.measures import coco_entries, measure

PICTURES = [{"id": n, "file_name": f"{n}.jpg", "width": 640, "height": 480} for n in (1, 2, 3)]
HUGE = 10**400


def person(number):
    rng = np.random.default_rng(number)
    points = np.concatenate([rng.uniform(50 * number, 50 * number + 100, (17, 2)), np.full((17, 1), 2)], axis=1)
    return {
        "id": number, "image_id": 1 + number % 3, "category_id": 1, "iscrowd": 0, "area": 6000.0, "num_keypoints": 17,
        "bbox": [50 * number, 50 * number, 100, 100], "keypoints": points.ravel().tolist(),
    }  # fmt: skip


def content(**changes):
    """A file of four persons; each field that is named is replaced in all of them, or left out where it is `...`."""
    entries = [person(n) | changes for n in range(1, 5)]
    entries = [{name: value for name, value in entry.items() if value is not ...} for entry in entries]
    return {"images": PICTURES, "annotations": entries, "categories": [{"id": 1, "name": "person"}]}


def write(folder, text, name="a.json"):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def precision_of_the_truth(path, folder):
    dataset = PoseDataset(load_coco(path, folder), COCO, (64, 64))
    truth = np.array([p.keypoints for p in dataset.persons])
    return len(dataset), measure(dataset, truth, np.ones(truth.shape[:2]), path)["AP"]


def category_listed(number):
    return content(category_id=number) | {"categories": [{"id": number, "name": "worker"}]}


def other_objects():
    file = content()
    file["annotations"] += [{"id": 9, "image_id": 1, "category_id": 3, "bbox": [1, 2, 300, 300]}]
    return file | {"categories": [{"id": 1}, {"id": 3}]}


def numbered_from(first):
    file = content()
    for n, entry in enumerate(file["annotations"]):
        entry["id"] = first + n
    return file


@pytest.mark.parametrize(
    "file",
    [
        *(content(**{field: ...}) for field in ("area", "num_keypoints", "id", "iscrowd", "category_id")),
        *(content(**{field: None}) for field in ("area", "num_keypoints", "id", "iscrowd", "category_id")),
        {name: value for name, value in content().items() if name != "categories"},
        content() | {"categories": None},
        *(category_listed(number) for number in (0, 7, 90)),
        content(category_id=7),
        other_objects(),
        numbered_from(0),  # pycocotools takes a match with annotation 0 for none
        numbered_from(-4),
        content() | {"images": [*PICTURES, PICTURES[0]]},
        content() | {"images": [picture | {"id": str(picture["id"])} for picture in PICTURES]},
    ],
)
def test_the_truth_is_entirely_right_in_every_form(tmp_path, file):
    assert precision_of_the_truth(write(tmp_path, file), tmp_path) == (4, pytest.approx(100))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("area", "large"), ("area", -1), ("area", [1]), ("area", HUGE), ("area", float("nan")),
        ("num_keypoints", "many"), ("num_keypoints", -2), ("num_keypoints", {}),
        ("id", "first"), ("id", 1.5), ("id", [1]), ("id", HUGE), ("id", 7),
        ("image_id", 9), ("image_id", None), ("image_id", [1]), ("image_id", "frame_0"), ("image_id", {}),
        ("iscrowd", "0"), ("iscrowd", []), ("category_id", "person"), ("category_id", [1]), ("category_id", 1.2),
        ("bbox", None), ("bbox", [1, 2, 3]), ("bbox", "box"), ("bbox", [1, 2, 3, float("inf")]),
        ("bbox", [1, 2, 3, HUGE]), ("bbox", {"x": 1}), ("bbox", [1, [2], 3, 4]), ("bbox", [0, 0, 1e300, 3]),
        ("bbox", [0, 0, 3e38, 3]), ("keypoints", [1] * 50), ("keypoints", ["a"] * 51), ("keypoints", {"nose": 1}),
        ("keypoints", 3),
    ],
)  # fmt: skip
def test_a_malformed_field_is_named_when_the_file_is_loaded(tmp_path, field, value):
    path = write(tmp_path, content(**{field: value}))
    for load in (load_coco, lambda *a: load_coco_detections(*a, write(tmp_path, [], "boxes.json"))):
        if field == "bbox" and value is None and load is not load_coco:
            continue  # detections need no true boxes
        with pytest.raises(AnnotationError) as caught:
            load(path, tmp_path)
        assert str(caught.value).startswith(f"{path}: annotations[") and repr(field) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": [3]}, "images[0]: expected an object"),
        ({"images": [PICTURES[0] | {"id": None}]}, "images[0]: field 'id'"),
        ({"images": [PICTURES[0] | {"id": [1]}]}, "images[0]: field 'id'"),
        ({"images": [PICTURES[0] | {"file_name": None}]}, "images[0]: field 'file_name'"),
        ({"images": [PICTURES[0] | {"width": None}]}, "images[0]: field 'width'"),
        ({"images": [PICTURES[0] | {"height": "480"}]}, "images[0]: field 'height'"),
        ({"images": [*PICTURES, PICTURES[0] | {"file_name": "b.jpg"}]}, "images[3]: field 'id': 1 is the number"),
        ({"annotations": [None]}, "annotations[0]: expected an object"),
        ({"annotations": [person(1), person(1)]}, "annotations[1]: field 'id': 1 is the number of another"),
        ({"annotations": {}}, "field 'annotations' is missing or not a list"),
        ({"categories": 3}, "field 'categories' is not a list"),
        ({"categories": [{"name": "person"}]}, "categories[0]: field 'id'"),
    ],
)
def test_malformed_lists_are_named(tmp_path, change, words):
    path = write(tmp_path, content() | change)
    with pytest.raises(AnnotationError) as caught:
        load_coco(path, tmp_path)
    assert f"{path}: {words}" in str(caught.value)


@pytest.mark.parametrize("load", [load_coco, load_mpii])
@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 5000, "", "{", '{"a": "\xe4"}', "\0"])
def test_what_is_no_json_is_named(tmp_path, load, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(AnnotationError, match="a.json: not a JSON file"):
        load(path, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_read_whatever_the_locale(tmp_path, encoding, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    file = content() | {"images": [p | {"file_name": f"Bäume/{p['id']}.jpg"} for p in PICTURES]}
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(file, ensure_ascii=False).encode(encoding))
    assert load_coco(path, tmp_path)[0].image == tmp_path / "Bäume" / "2.jpg"


NAMES_OUTSIDE = ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", "..", "", "a\0.jpg", 3, None]


@pytest.mark.parametrize("name", NAMES_OUTSIDE)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    images = tmp_path / "images"
    path = write(tmp_path, content() | {"images": [picture | {"file_name": name} for picture in PICTURES]})
    with pytest.raises(AnnotationError, match="(picture 2|images.0.): field 'file_name'"):
        load_coco(path, images)
    entry = {"image": name, "center": [1, 2], "scale": 1, "joints": [[1, 1]] * 16, "joints_vis": [1] * 16}
    with pytest.raises(AnnotationError, match="entry 0: field 'image'"):
        load_mpii(write(tmp_path, [entry]), images)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd"])
def test_names_of_hdf5_files_stay_inside_too(tmp_path, name):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["imgname"] = [name.encode()]
        file["center"], file["scale"], file["normalize"] = [[1.0, 2.0]], [1.0], [3.0]
        file["part"] = np.ones((1, 16, 2))
    with pytest.raises(AnnotationError, match="a.h5: entry 0: field 'imgname' names a file outside"):
        load_princeton(tmp_path / "a.h5", tmp_path / "images")


def test_names_and_links_inside_the_folder_are_taken(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "more").symlink_to(tmp_path)
    for name in ("more/1.jpg", "a/../1.jpg", "..jpg", str(tmp_path / "images" / "1.jpg")):
        path = write(tmp_path, content() | {"images": [picture | {"file_name": name} for picture in PICTURES]})
        assert load_coco(path, tmp_path / "images")[0].image.is_relative_to(tmp_path / "images")
        assert len(load_coco(path, "/")) == 4  # who wants names from anywhere says so


def test_results_keep_their_category_and_stay_as_they_are(tmp_path):
    path = write(tmp_path, category_listed(7))
    boxes = [{"image_id": 1, "category_id": c, "bbox": [9, 9, 50, 50], "score": 0.5} for c in (1, 7, 3)]
    detected = load_coco_detections(path, tmp_path, write(tmp_path, boxes, "boxes.json"))
    assert [p.category for p in detected] == [7, 7]  # 1 is a person where the file does not say otherwise
    dataset = PoseDataset(load_coco(path, tmp_path), COCO, (64, 64))
    truth = np.array([p.keypoints for p in dataset.persons])
    entries = coco_entries(dataset, truth, np.ones(truth.shape[:2]))
    assert [entry["category_id"] for entry in entries] == [7] * 4
    before = json.dumps(entries)
    assert coco_ap(path, entries, COCO.sigmas)["AP"] == pytest.approx(100)
    assert json.dumps(entries) == before
    images = [p.ident[0] for p in dataset.persons]
    plain = coco_results(images, truth, np.ones((4, 17)), np.ones(4), np.ones(4), COCO.sigmas)
    assert {entry["category_id"] for entry in plain} == {1}
    assert coco_ap(path, plain, COCO.sigmas)["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 99}, r"results\[0\]: field 'image_id' names no picture"),
        ({"image_id": "x"}, r"results\[0\]: field 'image_id'"),
        ({"keypoints": [1, 2]}, r"results\[0\]: field 'keypoints'"),
        ({"keypoints": [float("nan")] * 51}, r"results\[0\]: field 'keypoints' holds NaN"),
        ({"score": None}, r"results\[0\]: field 'score'"),
        ({"bbox": [1]}, r"results\[0\]: field 'bbox'"),
    ],
)
def test_malformed_results_are_named(tmp_path, change, words):
    entry = {"image_id": 1, "keypoints": [1.0] * 51, "score": 1.0} | change
    with pytest.raises(ValueError, match=words):
        coco_ap(write(tmp_path, content()), [entry], COCO.sigmas)
