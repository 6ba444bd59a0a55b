"""COCO keypoint annotations of any number of keypoints, and the faces and hands of COCO-WholeBody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast.codecs.affine import box_center_size
from hgfast.data.coco_file import Annotation, CocoFile, box_area, read_coco
from hgfast.data.fields import AnnotationError, flag, number_array, picture_path, read_json, whole
from hgfast.data.frames import BOXES, OUTSIDE, inside, own_box
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.keypoints import COCO, known_name
from hgfast.data.person import Person


@dataclass(frozen=True)
class _Part:
    """Fields of an instance: keypoints, box, and whether it is valid ("" where that is not asked)."""

    points: str
    box: str
    valid: str = ""
    clip: bool = True  # whether MMPose cuts the box off at the picture's last pixels


_BODY = (_Part("keypoints", "bbox"),)
_PARTS = {
    "face": (_Part("face_kpts", "face_box", "face_valid"),),
    "hand": (
        _Part("lefthand_kpts", "lefthand_box", "lefthand_valid", clip=False),
        _Part("righthand_kpts", "righthand_box", "righthand_valid", clip=False),
    ),
}


def load_coco(
    annotations: str | Path,
    images: str | Path,
    table: KeypointSet = COCO,
    boxes: str = "given",
    outside: str = "keep",
) -> list[Person]:
    """Read persons (or faces, or hands) of a COCO JSON file, as MMPose takes them for training.

    Bodies' and faces' boxes are cut off at the middles of the picture's outermost pixels (0 and width - 1), hands'
    boxes are not. Left out are crowds, instances without a labelled keypoint, and boxes that are empty then. Whoever
    has keypoints is a person, whatever the category. COCO counts pixels from 0.

    Filled where they are missing or null: ``id`` (new numbers), ``iscrowd`` (0), ``category_id`` (that of the only
    category, or 1), ``num_keypoints`` (the visible ones), ``area`` (0.53 of the box, as MMPose does).

    Args:
        annotations: ``person_keypoints_*.json``, or ``coco_wholebody_*.json`` for faces and hands.
        images: folder of the pictures; the names in the file must not lead out of it.
        table: :data:`hgfast.data.COCO`, ``FACE`` or ``HAND``, or keypoints of one's own, perhaps those that
            :func:`hgfast.data.coco_keypoints` finds in the file.
        boxes: "given" takes those of the file; "picture" the whole picture, "keypoints" the labelled points' extent.
        outside: what becomes of points outside of their picture: "keep", "hide" (not labelled) or "error".

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: broken JSON, a field that cannot be filled is missing, one is malformed, or two entries have
            the same number. The message names file, entry and field.
        TypeError, ValueError: arguments of another type, another word for boxes or outside.
    """
    _checks.instance("", "table", table, KeypointSet)
    _checks.choice("", "boxes", boxes, BOXES)
    _checks.choice("", "outside", outside, OUTSIDE)
    wanted = _Wanted(_checks.path("", "images", images), table, boxes, outside)
    file = read_coco(_checks.path("", "annotations", annotations))
    return [person for annotation in file.annotations for person in _instances(annotation, file, wanted)]


def load_coco_detections(
    annotations: str | Path,
    images: str | Path,
    detections: str | Path,
    min_score: float = 0.0,
    table: KeypointSet = COCO,
) -> list[Person]:
    """Read detected persons of the pictures of a COCO JSON file, to be evaluated without their true boxes.

    Boxes of width or height 0 are kept, as MMPose keeps them; negative ones are left out.

    Args:
        annotations: file that the pictures are listed in.
        images: folder of the pictures; the names in the file must not lead out of it.
        detections: list of objects with ``image_id``, ``category_id`` (of the annotations with keypoints, or 1 where
            the file lists no such category), ``bbox`` (x, y, w, h), ``score``.
        min_score: leave out detections below.
        table: the keypoints that the file's annotations have.

    Returns:
        persons without keypoints (all invisible), ``box_score`` set.

    Raises:
        FileNotFoundError, AnnotationError, TypeError: as :func:`load_coco`.
    """
    least = _checks.number("", "min_score", min_score)
    _checks.instance("", "table", table, KeypointSet)
    folder = _checks.path("", "images", images)
    file = read_coco(_checks.path("", "annotations", annotations))
    file.truth(table.count)  # what AP will be measured against: whatever is wrong there is said now
    found = read_json(_checks.path("", "detections", detections))
    if not isinstance(found, list):
        raise AnnotationError(f"{detections}: expected a list of boxes, got {type(found).__name__}")
    categories = file.person_categories() or {1}
    wanted = categories | ({1} - file.categories)
    persons = []
    for number, entry in enumerate(found):
        where = f"{detections}: entry {number}"
        box = number_array(entry, "bbox", (4,), where)
        score = float(number_array(entry, "score", (), where))
        category = min(categories) if entry.get("category_id") is None else whole(entry, "category_id", where)
        if category not in wanted or score < least or (box[2:] < 0).any():
            continue
        image = file.picture_of(entry, where)
        center, size = _center_size(box)
        persons.append(
            Person(
                image=_path_of(file, image, folder),
                center=center,
                size=size,
                keypoints=np.zeros((table.count, 2), np.float32),
                visible=np.zeros(table.count, np.float32),
                ident=(image, number),
                box_score=score,
                category=category if category in categories else min(categories),
            )
        )
    return persons


def _path_of(file: CocoFile, ident: int, folder: Path) -> Path:
    return picture_path(file.pictures[ident], "file_name", folder, f"{file.path}: picture {ident}")


@dataclass(frozen=True)
class _Wanted:
    folder: Path
    table: KeypointSet
    boxes: str
    outside: str

    def points(self, annotation: Annotation, field: str, picture: dict[str, Any]) -> np.ndarray | None:
        """(K, 3) x, y and visibility, 0 for points outside of the picture where these are to be hidden."""
        points = annotation.points(field, self.table.count)
        if points is None or self.outside == "keep":
            return points
        seen = np.where(points[:, 2:] > 0, points[:, :2], np.nan)
        size = (picture["width"], picture["height"])
        points[np.isnan(inside(seen, size, self.table.names, self.outside, annotation.where)[:, 0]), 2] = 0
        return points


def _instances(annotation: Annotation, file: CocoFile, wanted: _Wanted) -> Iterator[Person]:
    entry, where, table = annotation.entry, annotation.where, wanted.table
    picture = file.pictures[annotation.image]
    for part in _PARTS.get(known_name(table), _BODY):
        if part.valid and not flag(entry, part.valid, where):
            continue
        points = wanted.points(annotation, part.points, picture)
        if points is None or annotation.crowd:
            continue
        labelled = annotation.labelled(points) if part in _BODY else np.count_nonzero(points[:, 2] > 0)
        if not labelled or not (points[:, 2] > 0).any() or points[:, :2].max() <= 0:
            continue
        extent = None
        if wanted.boxes == "given":
            box = annotation.box(part.box)
            if box is None:
                raise AnnotationError(f'{where}: field {part.box!r} is missing (boxes = "keypoints" needs none)')
            center, size = _center_size(box, picture if part.clip else None)
            area = box_area(float(size.prod()))
        else:
            seen = np.where(points[:, 2:] > 0, points[:, :2], np.nan)
            center, size, extents = own_box(seen, (picture["width"], picture["height"]), wanted.boxes)
            area, extent = max(float(extents.prod()), 1.0), float(extents.max())
        if (size <= 0).any():
            continue
        yield Person(
            image=_path_of(file, annotation.image, wanted.folder),
            center=center,
            size=size,
            keypoints=points[:, :2].astype(np.float32),
            visible=np.clip(points[:, 2], 0, 1).astype(np.float32),
            area=area if annotation.area is None else annotation.area,
            ident=(annotation.image, annotation.ident),
            category=annotation.category,
            extent=extent,
        )


def _center_size(box: np.ndarray, picture: dict[str, Any] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Centre and size (2,) of a box x, y, width, height; where a picture is given, of the part inside it."""
    if picture is None:
        box = box.astype(np.float32)  # before the sum, as MMPose does
    corners = np.concatenate([box[:2], box[:2] + box[2:]])
    if picture is not None:
        corners = np.clip(corners, 0, np.array([picture["width"], picture["height"]] * 2) - 1)
    center, size = box_center_size(corners)
    return center[0], size[0]
