"""COCO files with every field checked or filled, as both training and AP take them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.data.fields import AnnotationError, as_object, flag, number, number_array, read_json, whole


@dataclass(frozen=True)
class Annotation:
    """An entry of ``annotations``.

    Attributes:
        where: file and entry, for messages.
        entry: its fields as they are in the file.
        ident: its number, unlike all others; filled where it is missing.
        image: number of its picture.
        category: number of its category; where it is missing, that of the only category, or 1.
        crowd: whether it stands for a group.
        area: in square pixels; None where it is missing.
    """

    where: str
    entry: dict[str, Any]
    ident: int
    image: int
    category: int
    crowd: bool
    area: float | None

    def points(self, field: str, joints: int) -> np.ndarray | None:
        """(joints, 3) float64 x, y and visibility of a field; None where it is missing or empty."""
        if self.entry.get(field) is None or self.entry[field] == []:
            return None
        return number_array(self.entry, field, (3 * joints,), self.where, np.float64).reshape(-1, 3)

    def box(self, field: str) -> np.ndarray | None:
        """(4,) float64 x, y, width, height of a field; None where it is missing or empty."""
        if self.entry.get(field) is None or self.entry[field] == []:
            return None
        return number_array(self.entry, field, (4,), self.where, np.float64)

    def labelled(self, points: np.ndarray) -> int:
        """Return the number of labelled keypoints: what the file says, or how many of the body's points are visible."""
        said = number(self.entry, "num_keypoints", self.where)
        return int((points[:, 2] > 0).sum() if said is None else said)


@dataclass(frozen=True)
class CocoFile:
    """Content of a COCO file.

    Attributes:
        path: of the file.
        pictures: entries of ``images`` by number, each with a ``file_name``, ``width`` and ``height``.
        annotations: in the file's order.
        categories: numbers of the categories that the file lists.
    """

    path: str | Path
    pictures: dict[int, dict[str, Any]]
    annotations: list[Annotation]
    categories: set[int]

    def picture_of(self, entry: dict[str, Any], where: str) -> int:
        """Return the number of the picture of an entry of this or another file."""
        if entry.get("image_id") is not None and (ident := whole(entry, "image_id", where)) in self.pictures:
            return ident
        raise AnnotationError(f"{where}: field 'image_id' is missing or names no picture of the file")

    def person_categories(self) -> set[int]:
        """Return the categories of annotations with keypoints."""
        return {annotation.category for annotation in self.annotations if annotation.entry.get("keypoints")}

    def truth(self, joints: int) -> dict[str, Any]:
        """Return what pycocotools compares with: all that have keypoints, whatever their category, as category 1.

        Annotations are numbered anew from 1, as pycocotools takes number 0 for "no match". Those of the persons'
        categories without keypoints become regions to be ignored, as they are in COCO's own files.
        """
        persons = self.person_categories()
        entries = [a for a in self.annotations if a.category in persons]
        return {
            "images": [{"id": ident} for ident in self.pictures],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [_truth(a, joints) | {"id": n} for n, a in enumerate(entries, 1)],
        }


def _truth(annotation: Annotation, joints: int) -> dict[str, Any]:
    points, box = annotation.points("keypoints", joints), annotation.box("bbox")
    labelled = 0 if points is None else annotation.labelled(points)
    box = np.zeros(4) if box is None else box
    return {
        "image_id": annotation.image,
        "category_id": 1,
        "iscrowd": int(annotation.crowd),
        "num_keypoints": labelled,
        "keypoints": np.zeros(3 * joints).tolist() if points is None else points.ravel().tolist(),
        "bbox": box.tolist(),
        "area": box_area(box[2] * box[3]) if annotation.area is None else annotation.area,
    }


def box_area(box: float) -> float:
    """Area of a person whose annotation does not say it: a share of the box, at least 1, as MMPose fills it."""
    return max(0.53 * box, 1.0)


def read_coco(path: str | Path) -> CocoFile:
    """Read a COCO file.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: broken JSON, a field missing that cannot be filled, malformed or against another one.
    """
    content = read_json(path)
    for field in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise AnnotationError(f"{path}: field {field!r} is missing or not a list")
    file = CocoFile(path, _pictures(content["images"], path), [], _categories(content.get("categories"), path))
    file.annotations.extend(_annotations(content["annotations"], file))
    return file


def _pictures(entries: list[Any], path: str | Path) -> dict[int, dict[str, Any]]:
    pictures: dict[int, dict[str, Any]] = {}
    for n, entry in enumerate(entries):
        where = f"{path}: images[{n}]"
        ident = whole(as_object(entry, where), "id", where)
        if not isinstance(entry.get("file_name"), str):
            raise AnnotationError(f"{where}: field 'file_name' is missing or not a string")
        for field in ("width", "height"):
            if not number(entry, field, where):
                raise AnnotationError(f"{where}: field {field!r} is missing or 0")
        if pictures.setdefault(ident, entry) != entry:
            raise AnnotationError(f"{where}: field 'id': {ident} is the number of another picture, too")
    return pictures


def _categories(entries: Any, path: str | Path) -> set[int]:
    if not isinstance(entries, (list, type(None))):
        raise AnnotationError(f"{path}: field 'categories' is not a list")
    places = [(entry, f"{path}: categories[{n}]") for n, entry in enumerate(entries or ())]
    return {whole(as_object(entry, where), "id", where) for entry, where in places}


def _annotations(entries: list[Any], file: CocoFile) -> Iterator[Annotation]:
    places = [f"{file.path}: annotations[{n}]" for n in range(len(entries))]
    given: dict[int, str] = {}
    for entry, where in zip(entries, places, strict=True):
        if as_object(entry, where).get("id") is not None:
            ident = whole(entry, "id", where)
            if given.setdefault(ident, where) != where:
                raise AnnotationError(f"{where}: field 'id': {ident} is the number of another annotation, too")
    free = count(max(given, default=0) + 1)
    fill = next(iter(file.categories)) if len(file.categories) == 1 else 1
    for entry, where in zip(entries, places, strict=True):
        yield Annotation(
            where=where,
            entry=entry,
            ident=next(free) if entry.get("id") is None else whole(entry, "id", where),
            image=file.picture_of(entry, where),
            category=fill if entry.get("category_id") is None else whole(entry, "category_id", where),
            crowd=flag(entry, "iscrowd", where),
            area=number(entry, "area", where),
        )
