"""MPII's own annotation file, ``mpii_human_pose_v1_u12_1.mat``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast.data.fields import AnnotationError
from hgfast.data.mat_structs import read_struct
from hgfast.data.mpii import mpii_person
from hgfast.data.person import Person

_JOINTS = 16
_HEAD_SHARE = 0.6  # of the head box's diagonal, as in MPII's evaluation


def load_mpii_mat(annotations: str | Path, images: str | Path, pixel_origin: int = 0) -> list[Person]:
    """Read persons with joints of MPII's release file: those of its training pictures, for only they have any.

    The split of these pictures into training and validation that most papers use is no part of the file.

    Args:
        annotations: the file.
        images: folder of the pictures; the names in the file must not lead out of it.
        pixel_origin: see :func:`hgfast.data.load_mpii`.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not such a file, or a field missing or malformed; the message names picture and person.
        TypeError, ValueError: arguments of another type, another pixel_origin.
    """
    pixel_origin = _checks.integer("", "pixel_origin", pixel_origin, 0, 1)
    folder, path = _checks.path("", "images", images), _checks.path("", "annotations", annotations)
    release = _only(read_struct(path, "RELEASE"))
    if "annolist" not in release:
        raise AnnotationError(f"{path}: field 'RELEASE.annolist' is missing")
    entries = _list(release["annolist"])
    persons = [pair for n, entry in enumerate(entries) for pair in _persons(entry, path, n)]
    return [mpii_person(*pair, number, folder, pixel_origin) for number, pair in enumerate(persons)]


def _persons(entry: dict[str, Any], path: Path, number: int) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each person of a picture who has joints, in the form of the JSON file."""
    where = f"{path}: annolist({number + 1})"
    for k, rect in enumerate(_list(entry.get("annorect"))):
        points = _list(_only(rect.get("annopoints")).get("point"))
        if not points:
            continue
        place = f"{where}.annorect({k + 1})"
        center = _only(rect.get("objpos"))
        joints, labelled = _joints(points, place)
        yield (
            {
                "image": _only(entry.get("image")).get("name"),
                "center": [_number(center, "x"), _number(center, "y")],
                "scale": _number(rect, "scale"),
                "joints": joints,
                "joints_vis": labelled,
                "head_size": _head_size(rect),
            },
            place,
        )


def _joints(points: list[dict[str, Any]], where: str) -> tuple[list[list[float]], list[int]]:
    joints, labelled = [[-1.0, -1.0] for _ in range(_JOINTS)], [0] * _JOINTS
    for point in points:
        joint = _number(point, "id")
        if joint is None or joint not in range(_JOINTS):
            raise AnnotationError(f"{where}: field 'annopoints.point.id': expected 0 to 15, got {joint}")
        x, y = _number(point, "x"), _number(point, "y")
        if x is None or y is None:
            raise AnnotationError(f"{where}: joint {joint:g} has no x or y")
        joints[int(joint)], labelled[int(joint)] = [x, y], 1
    return joints, labelled


def _head_size(rect: dict[str, Any]) -> float | None:
    """Return the head's size; None where there is no box of the head."""
    corners = [_number(rect, name) for name in ("x1", "y1", "x2", "y2")]
    if None in corners:
        return None
    x1, y1, x2, y2 = (float(value or 0) for value in corners)
    return _HEAD_SHARE * float(np.hypot(x2 - x1, y2 - y1))


def _number(owner: dict[str, Any], field: str) -> float | None:
    """Return a number that stands alone; None for anything else."""
    value = owner.get(field)
    return float(value.ravel()[0]) if isinstance(value, np.ndarray) and value.size == 1 else None


def _list(value: Any) -> list[dict[str, Any]]:
    """Structures; none where something else stands, as an empty array does."""
    return value if isinstance(value, list) and all(isinstance(entry, dict) for entry in value) else []


def _only(value: Any) -> dict[str, Any]:
    entries = _list(value)
    return entries[0] if len(entries) == 1 else {}
