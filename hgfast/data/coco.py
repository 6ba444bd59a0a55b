"""COCO keypoint annotations, and the faces and hands of COCO-WholeBody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.data.keypoints import COCO, KeypointSet
from hgfast.data.person import AnnotationError, Person, number_array, read_json

# For each set of keypoints the prefixes of the fields that hold an instance: keypoints, box, and whether it is valid.
_FIELDS = {
    "coco": (("keypoints", "bbox", None),),
    "face": (("face_kpts", "face_box", "face_valid"),),
    "hand": (
        ("lefthand_kpts", "lefthand_box", "lefthand_valid"),
        ("righthand_kpts", "righthand_box", "righthand_valid"),
    ),
}


def load_coco(annotations: str | Path, images: str | Path, table: KeypointSet = COCO) -> list[Person]:
    """Persons (or faces, or hands) of a COCO JSON file, as MMPose takes them for training.

    Left out are crowds, instances without a labelled keypoint, and boxes that are empty once cut off at the picture's
    border. COCO counts pixels from 0.

    Args:
        annotations: ``person_keypoints_*.json``, or ``coco_wholebody_*.json`` for faces and hands.
        images: folder of the pictures.
        table: :data:`hgfast.data.COCO`, ``FACE`` or ``HAND``.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: broken JSON, or a field missing or malformed.
        ValueError: COCO has no such keypoints.
    """
    if table.name not in _FIELDS:
        raise ValueError(f"table: COCO has {', '.join(_FIELDS)}, got {table.name!r}")
    content, pictures = _read(annotations)
    persons = []
    for number, entry in enumerate(content["annotations"]):
        where = f"{annotations}: annotations[{number}]"
        picture = _picture_of(entry, pictures, where)
        if not entry.get("iscrowd", 0):
            persons += list(_instances(entry, picture, Path(images), table, where))
    return persons


def load_coco_detections(
    annotations: str | Path, images: str | Path, detections: str | Path, min_score: float = 0.0
) -> list[Person]:
    """Detected persons of the pictures of a COCO JSON file, to be evaluated without their true boxes.

    Args:
        annotations: file that the pictures are listed in.
        images: folder of the pictures.
        detections: list of objects with ``image_id``, ``category_id`` (1 = person), ``bbox`` (x, y, w, h), ``score``.
        min_score: leave out detections below.

    Returns:
        persons without keypoints (all invisible), ``box_score`` set.
    """
    _, pictures = _read(annotations)
    found = read_json(detections)
    if not isinstance(found, list):
        raise AnnotationError(f"{detections}: expected a list of boxes, got {type(found).__name__}")
    persons = []
    for number, entry in enumerate(found):
        where = f"{detections}: entry {number}"
        x, y, width, height = number_array(entry, "bbox", (4,), where)
        score = float(number_array(entry, "score", (), where))
        if entry.get("category_id") != 1 or score < min_score or width <= 0 or height <= 0:
            continue
        picture = _picture_of(entry, pictures, where)
        persons.append(
            Person(
                image=Path(images) / picture["file_name"],
                center=np.array([x + width / 2, y + height / 2], np.float32),
                size=np.array([width, height], np.float32),
                keypoints=np.zeros((COCO.count, 2), np.float32),
                visible=np.zeros(COCO.count, np.float32),
                ident=(int(entry["image_id"]), number),
                box_score=score,
            )
        )
    return persons


def _read(path: str | Path) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """Content of a COCO file and its pictures by number."""
    content = read_json(path)
    for field in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise AnnotationError(f"{path}: field {field!r} is missing or not a list")
    pictures = {}
    for number, picture in enumerate(content["images"]):
        if not {"id", "file_name", "width", "height"} <= set(picture):
            raise AnnotationError(f"{path}: images[{number}]: expected id, file_name, width and height")
        pictures[picture["id"]] = picture
    return content, pictures


def _picture_of(entry: Any, pictures: dict[int, dict[str, Any]], where: str) -> dict[str, Any]:
    if not isinstance(entry, dict) or entry.get("image_id") not in pictures:
        raise AnnotationError(f"{where}: field 'image_id' is missing or names no picture of the file")
    return pictures[entry["image_id"]]


def _instances(
    entry: dict[str, Any], picture: dict[str, Any], images: Path, table: KeypointSet, where: str
) -> Iterator[Person]:
    for points_field, box_field, valid_field in _FIELDS[table.name]:
        if points_field not in entry or (valid_field and not entry.get(valid_field)):
            continue
        points = number_array(entry, points_field, (3 * table.count,), where).reshape(-1, 3)
        x, y, width, height = number_array(entry, box_field, (4,), where)
        x2, y2 = min(x + width, picture["width"]), min(y + height, picture["height"])
        x1, y1 = max(x, 0), max(y, 0)
        if x2 <= x1 or y2 <= y1 or not (points[:, 2] > 0).any():
            continue
        yield Person(
            image=images / picture["file_name"],
            center=np.array([(x1 + x2) / 2, (y1 + y2) / 2], np.float32),
            size=np.array([x2 - x1, y2 - y1], np.float32),
            keypoints=points[:, :2].copy(),
            visible=np.minimum(points[:, 2], 1),
            area=float(entry.get("area", width * height)),
            ident=(int(entry["image_id"]), int(entry.get("id", 0))),
        )
