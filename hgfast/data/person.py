"""One annotated person: what every annotation reader returns and every data set is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Person:
    """A person in a picture.

    Attributes:
        image: path of the picture.
        center: (2,) float32, centre x, y of the person's box in 0-based pixels.
        size: (2,) float32, width and height of the box in pixels, before any padding.
        keypoints: (K, 2) float32 points in pixels.
        visible: (K,) float32, 1 where the point is labelled.
        head_size: length that PCKh is measured in, pixels; 0 where unknown (the person then does not count).
        area: area in square pixels for the OKS measure.
        ident: image and person number of the source, for results files.
        box_score: confidence of a detected box.
    """

    image: Path
    center: np.ndarray
    size: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    head_size: float = 0.0
    area: float = 0.0
    ident: tuple[int, int] = (0, 0)
    box_score: float = 1.0


class AnnotationError(ValueError):
    """An annotation file that cannot be used; the message names the file, the entry and the field."""


def read_json(path: str | Path) -> Any:
    """Content of a JSON file.

    Raises:
        FileNotFoundError: the file is not there.
        AnnotationError: it is not JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found")
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: not a JSON file ({error})") from None


def number_array(entry: Any, field: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """``entry[field]`` as a finite float32 array; raises AnnotationError that names ``where`` and the field."""
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: expected an object, got {type(entry).__name__}")
    if entry.get(field) is None:
        raise AnnotationError(f"{where}: field {field!r} is missing")
    try:
        array = np.asarray(entry[field], dtype=np.float32)
    except (TypeError, ValueError):
        raise AnnotationError(f"{where}: field {field!r} does not hold numbers") from None
    if array.shape != shape:
        raise AnnotationError(f"{where}: field {field!r}: expected shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise AnnotationError(f"{where}: field {field!r} holds NaN or infinity")
    return array
