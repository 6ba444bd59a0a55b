"""Annotation files, and the other JSON, TOML, HDF5 and MATLAB files that are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.data import load_coco, load_coco_detections, load_mpii, load_princeton
from hgfast.data.keypoints import COCO, FACE, HAND
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.damage import any_bytes, damaged, replaced
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Instance, Number
from tests.fuzz.kinds import Path as PathKind

REFUSALS = (ValueError, OSError)


def file_case(
    draw: Draw, name: str, content: Any, read: Callable[[Path], Any], write: Callable[[Any, Path], None] | None = None
) -> Case:
    """read(file) of a good file, of one with an odd value at some place, or of damaged bytes.

    A refusal names the file; a place that nothing reads may hold what it likes.
    """
    path = draw.folder / name
    if write is None:
        write = _write_json
    spoiled = ""
    way = draw.one(("good", "odd", "odd", "odd", "odd", "bytes", "bytes", "other"))
    if way == "odd":
        content, place = replaced(content, draw)
        spoiled = f"odd value at {'/'.join(map(str, place))[:60]}"
        write(content, path)
    elif way == "other":
        path.write_bytes(any_bytes(draw))
        spoiled = "another file"
    else:
        write(content, path)
        if way == "bytes":
            path.write_bytes(damaged(path.read_bytes(), draw))
            spoiled = "damaged bytes"
    blame = (name,) if spoiled else None
    return Case(lambda: read(path), blame=blame, spoiled=spoiled, either=True, errors=REFUSALS, inputs=[path])


def _write_json(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")


def mpii_entry(number: int) -> dict[str, Any]:
    joints = [[10.0 + k, 20.0 + 2 * k] for k in range(16)]
    return {
        "image": f"{number}.jpg", "center": [30.0, 40.0], "scale": 0.5, "joints": joints, "joints_vis": [1] * 16,
        "head_size": 9.5,
    }  # fmt: skip


@target("file.mpii_json", 200, "file")
def mpii(draw: Draw) -> Case:
    content = [mpii_entry(i) for i in range(draw.one((1, 3)))]
    return file_case(draw, "mpii.json", content, lambda path: load_mpii(path, "images"))


def coco_content() -> dict[str, Any]:
    def points(count: int) -> list[float]:
        return [number for k in range(count) for number in (10.0 + k, 12.0 + k, 2)]

    person = {
        "id": 7, "image_id": 3, "category_id": 1, "iscrowd": 0, "area": 900.0, "bbox": [5, 6, 50, 60],
        "num_keypoints": 17,
        "keypoints": points(17), "face_kpts": points(68), "face_box": [5, 6, 50, 60], "face_valid": True,
        "lefthand_kpts": points(21), "lefthand_box": [5, 6, 50, 60], "lefthand_valid": True,
        "righthand_kpts": points(21), "righthand_box": [5, 6, 50, 60], "righthand_valid": False,
    }  # fmt: skip
    return {
        "images": [{"id": 3, "file_name": "3.jpg", "width": 100, "height": 90}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person"}],
    }


@target("file.coco_json", 250, "file")
def coco(draw: Draw) -> Case:
    table = draw.one((COCO, COCO, FACE, HAND))
    return file_case(draw, "coco.json", coco_content(), lambda path: load_coco(path, "images", table))


@target("file.detections_json", 200, "file")
def detections(draw: Draw) -> Case:
    truth = draw.folder / "coco.json"
    _write_json(coco_content(), truth)
    content = [{"image_id": 3, "category_id": 1, "bbox": [5, 6, 50, 60], "score": 0.9}]
    return file_case(draw, "found.json", content, lambda path: load_coco_detections(truth, "images", path))


def _write_h5(content: Any, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        if isinstance(content, dict):
            for name, value in content.items():
                try:
                    file[name] = value
                except (TypeError, ValueError, OverflowError):  # what HDF5 cannot hold is not in the file
                    pass


@target("file.princeton_h5", 150, "file")
def princeton(draw: Draw) -> Case:
    n = draw.one((1, 3))
    content = {
        "imgname": [f"{i}.jpg".encode() for i in range(n)], "center": np.ones((n, 2)).tolist(),
        "scale": np.ones(n).tolist(), "part": np.ones((n, 16, 2)).tolist(), "normalize": np.ones(n).tolist(),
    }  # fmt: skip
    return file_case(draw, "train.h5", content, lambda path: load_princeton(path, "images"), _write_h5)


def _write_mat(content: Any, path: Path) -> None:
    from scipy.io import savemat

    good = isinstance(content, dict)
    try:
        savemat(path, {k: v for k, v in content.items() if v is not None} if good else {})
    except (TypeError, ValueError, OverflowError):  # what MATLAB cannot hold
        savemat(path, {})


@target("file.head_boxes_mat", 150, "file")
def head_boxes(draw: Draw) -> Case:
    n = draw.one((1, 3))
    annotations = draw.folder / "mpii.json"
    _write_json([mpii_entry(i) for i in range(n)], annotations)
    content = {"headboxes_src": np.arange(4.0 * n).reshape(2, 2, n).tolist(), "other": [1.0, 2.0]}
    return file_case(
        draw, "gt.mat", content, lambda path: load_mpii(annotations, "images", head_boxes=path), _write_mat
    )


@target("data.load_mpii", 100)
def load_mpii_arguments(draw: Draw) -> Case:
    path = draw.folder / "mpii.json"
    _write_json([mpii_entry(0)], path)
    arguments = {
        "annotations": Arg(path, PathKind()),
        "images": Arg(draw.folder, PathKind()),
        "pixel_origin": Arg(draw.one((0, 1)), Choice()),
    }
    return call(draw, load_mpii, arguments, errors=(TypeError, ValueError))


@target("data.load_coco", 100)
def load_coco_arguments(draw: Draw) -> Case:
    path = draw.folder / "coco.json"
    _write_json(coco_content(), path)
    arguments = {
        "annotations": Arg(path, PathKind()),
        "images": Arg(draw.folder, PathKind()),
        "table": Arg(COCO, Instance()),
    }
    return call(draw, load_coco, arguments, lambda persons: None if len(persons) == 1 else f"{len(persons)} persons")


@target("data.load_coco_detections", 100)
def load_detections_arguments(draw: Draw) -> Case:
    truth, found = draw.folder / "coco.json", draw.folder / "found.json"
    _write_json(coco_content(), truth)
    _write_json([{"image_id": 3, "category_id": 1, "bbox": [5, 6, 50, 60], "score": 0.9}], found)
    arguments = {
        "annotations": Arg(truth, PathKind()),
        "images": Arg(draw.folder, PathKind()),
        "detections": Arg(found, PathKind()),
        "min_score": Arg(0.5, Number()),
    }
    return call(draw, load_coco_detections, arguments)
