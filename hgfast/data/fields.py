"""Annotation files and the fields of their entries: each error names the file, the entry and the field.

`where` is the file and the entry as they begin a message. A field that is null counts as missing.
"""

from __future__ import annotations

import json
import os
import re
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from hgfast._checks import INT64_MAX, describe

LIMIT = 1e12  # of lengths in pixels and areas: larger numbers are mistakes, and their squares would leave float32


class AnnotationError(ValueError):
    """An annotation file that cannot be used; the message names the file, the entry and the field."""


def read_json(path: str | Path) -> Any:
    """Content of a JSON file in UTF-8, UTF-16 or UTF-32.

    Raises:
        FileNotFoundError: the file is not there.
        AnnotationError: it is not JSON.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: annotation file not found")
    try:
        return json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, no text, or a number of 5,000 digits
        raise AnnotationError(f"{path}: not a JSON file ({error})") from None


def as_object(entry: Any, where: str) -> dict[str, Any]:
    """Return the entry, which must be a JSON object."""
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: expected an object, got {type(entry).__name__}")
    return entry


def number_array(
    entry: Any, field: str, shape: tuple[int, ...], where: str, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """``entry[field]`` as an array of finite numbers of this shape."""
    value = _given(as_object(entry, where), field, where)
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(value, dtype=dtype)
    except (TypeError, ValueError, OverflowError):
        raise AnnotationError(f"{where}: field {field!r} does not hold numbers") from None
    if array.shape != shape:
        raise AnnotationError(f"{where}: field {field!r}: expected shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise AnnotationError(f"{where}: field {field!r} holds NaN or infinity")
    if (np.abs(array) > LIMIT).any():
        raise AnnotationError(f"{where}: field {field!r} holds a number beyond {LIMIT:g}")
    return array


def number(entry: dict[str, Any], field: str, where: str) -> float | None:
    """``entry[field]``, a number that is not negative; None where it is missing."""
    value = entry.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LIMIT:
        raise AnnotationError(f"{where}: field {field!r}: expected a number of 0 to {LIMIT:g}, got {describe(value)}")
    return float(value)


def whole(entry: dict[str, Any], field: str, where: str) -> int:
    """``entry[field]``, a whole number, perhaps written as text."""
    value: Any = _given(entry, field, where)
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,18}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, Integral) or abs(int(value)) > INT64_MAX:
        raise AnnotationError(f"{where}: field {field!r}: expected a whole number, got {describe(value)}")
    return int(value)


def flag(entry: dict[str, Any], field: str, where: str) -> bool:
    """``entry[field]``, true or false or a number; False where it is missing."""
    value = entry.get(field)
    if value is not None and not isinstance(value, Real):
        raise AnnotationError(f"{where}: field {field!r}: expected true or false, got {describe(value)}")
    return bool(value)


def picture_path(entry: dict[str, Any], field: str, images: Path, where: str) -> Path:
    """Return the path of the picture named in ``entry[field]``, in the folder (links in there may lead out)."""
    name = entry.get(field)
    if not isinstance(name, str) or not name or "\0" in name:
        raise AnnotationError(f"{where}: field {field!r} is missing or not a string that names a picture")
    name = os.path.normpath(name)
    if os.path.isabs(name):
        inside = Path(name).is_relative_to(os.path.abspath(images))
    else:
        inside = name.split(os.sep)[0] != os.pardir
    if not inside:
        raise AnnotationError(f"{where}: field {field!r} names a file outside of the folder {images}: {name!r}")
    return images / name


def _given(entry: dict[str, Any], field: str, where: str) -> Any:
    if entry.get(field) is None:
        raise AnnotationError(f"{where}: field {field!r} is missing")
    return entry[field]
