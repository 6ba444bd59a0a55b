"""MPII's own annotation file, ``mpii_human_pose_v1_u12_1.mat``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast._extras import require
from hgfast.data.fields import AnnotationError
from hgfast.data.mpii import mpii_person
from hgfast.data.person import Person

_JOINTS = 16
_HEAD_SHARE = 0.6  # of the head box's diagonal, as in MPII's evaluation


def load_mpii_mat(annotations: str | Path, images: str | Path, pixel_origin: int = 0) -> list[Person]:
    """Persons with joints of MPII's release file (needs scipy): those of its training pictures, for only they have any.

    The split of these pictures into training and validation that most papers use is no part of the file.

    Args:
        annotations: the file.
        images: folder of the pictures; the names in the file must not lead out of it.
        pixel_origin: see :func:`hgfast.data.load_mpii`.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not such a file, or a field missing or malformed; the message names picture and person.
        ImportError: scipy is not installed.
        TypeError, ValueError: arguments of another type, another pixel_origin.
    """
    pixel_origin = _checks.integer("", "pixel_origin", pixel_origin, 0, 1)
    folder, path = _checks.path("", "images", images), _checks.path("", "annotations", annotations)
    entries = _entries(path)
    persons = [pair for n, entry in enumerate(entries) for pair in _persons(entry, path, n)]
    return [mpii_person(*pair, number, folder, pixel_origin) for number, pair in enumerate(persons)]


def _entries(path: Path) -> list[Any]:
    """The structures of all pictures."""
    io = require("scipy.io", f"{path}: reading MPII's file")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found")
    try:
        content = io.loadmat(path, struct_as_record=False, squeeze_me=True, variable_names=["RELEASE"])
    except Exception as error:  # scipy raises whatever a damaged file leads it to
        raise AnnotationError(f"{path}: not a MATLAB file that can be read ({error})") from None
    found = getattr(content.get("RELEASE"), "annolist", None)
    if found is None:
        raise AnnotationError(f"{path}: field 'RELEASE.annolist' is missing")
    return _list(found)


def _persons(entry: Any, path: Path, number: int) -> Iterator[tuple[dict[str, Any], str]]:
    """Each person of a picture who has joints, in the form of the JSON file."""
    where = f"{path}: annolist({number + 1})"
    for k, rect in enumerate(_list(getattr(entry, "annorect", None))):
        points = _list(getattr(getattr(rect, "annopoints", None), "point", None))
        if not points:
            continue
        place = f"{where}.annorect({k + 1})"
        center = getattr(rect, "objpos", None)
        joints, labelled = _joints(points, place)
        yield (
            {
                "image": _text(getattr(getattr(entry, "image", None), "name", None)),
                "center": [_number(center, "x"), _number(center, "y")],
                "scale": _number(rect, "scale"),
                "joints": joints,
                "joints_vis": labelled,
                "head_size": _head_size(rect),
            },
            place,
        )


def _joints(points: list[Any], where: str) -> tuple[list[list[float]], list[int]]:
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


def _head_size(rect: Any) -> float | None:
    """None where there is no box of the head."""
    corners = [_number(rect, name) for name in ("x1", "y1", "x2", "y2")]
    if None in corners:
        return None
    x1, y1, x2, y2 = (float(value or 0) for value in corners)
    return _HEAD_SHARE * float(np.hypot(x2 - x1, y2 - y1))


def _number(owner: Any, field: str) -> float | None:
    value = getattr(owner, field, None)
    return float(value) if isinstance(value, (int, float, np.integer, np.floating)) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _list(value: Any) -> list[Any]:
    """Structures that scipy gives as an array, one alone, or as an empty array where there are none."""
    if value is None or (isinstance(value, np.ndarray) and not value.size):
        return []
    return list(value.ravel()) if isinstance(value, np.ndarray) else [value]
