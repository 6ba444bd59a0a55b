"""What a predictor is given, checked: pictures, and the boxes of the persons in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hgfast import _checks
from hgfast.data.images import MAX_SIDE, read_image

Image = np.ndarray | str | Path
Boxes = Any  # (P, 4) array or nested list: x1, y1, x2, y2 in pixels, before padding; None or "picture" is the whole

WHOLE = "picture"  # in place of boxes: one individual, who fills the picture
FARTHEST = 2**20  # pixels: beyond, OpenCV's fixed-point coordinates overflow, and a crop shows anything


def as_image(item: Any, name: str) -> np.ndarray:
    """Return a picture, read where it is a path.

    Raises:
        TypeError, ValueError: neither a path nor a uint8 array (H, W, 3); not a picture, or one that is too large.
        OSError: it cannot be read.
    """
    if isinstance(item, (str, os.PathLike)):
        return read_image(_checks.path("", name, item))
    _checks.picture("", name, item, "a path or a uint8 array (H, W, 3)")
    if max(item.shape) > MAX_SIDE:
        raise ValueError(f"{name} must have at most {MAX_SIDE} pixels a side to be cropped, got shape {item.shape}")
    return item


def as_boxes(boxes: Any, image: np.ndarray, name: str) -> np.ndarray:
    """Return boxes as float32 (P, 4), of the whole picture for None and WHOLE.

    Raises:
        TypeError, ValueError: as :func:`check_boxes`; another word.
    """
    if isinstance(boxes, str):
        _checks.choice("", name, boxes, (WHOLE,))
    if boxes is None or isinstance(boxes, str):
        return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
    return check_boxes(boxes, name)


def check_boxes(boxes: Any, name: str) -> np.ndarray:
    """Return boxes as float32 (P, 4).

    Raises:
        TypeError: not numbers.
        ValueError: another shape, not finite, x1 < x2 and y1 < y2 not kept, or farther than ``FARTHEST`` from 0.
    """
    array = _checks.array("", name, boxes)
    if array.shape in ((0,), (0, 4)):
        return np.zeros((0, 4), np.float32)
    array = _checks.array("", name, array, (None, 4), finite=True).astype(np.float64)
    if not (np.abs(array) <= FARTHEST).all():
        raise ValueError(f"{name} must lie within {FARTHEST} pixels of the picture's origin, got {_first(array)}")
    array = array.astype(np.float32)
    if not (array[:, 2:] > array[:, :2]).all():
        raise ValueError(f"{name} must have x1 < x2 and y1 < y2, got {_first(array)}")
    return array


def _first(array: np.ndarray) -> str:
    return f"{array[:3].tolist()}" + (f" and {len(array) - 3} more" if len(array) > 3 else "")


def pairs_of(images: Any, boxes: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each picture of a list with its boxes.

    Raises:
        TypeError: not a list of pictures, or no list of boxes.
        ValueError: more or fewer arrays of boxes than pictures.
    """
    if not isinstance(images, Iterable) or isinstance(images, (torch.Tensor, Mapping, Set, bytes)):
        raise TypeError(f"images must be a picture or a list of pictures, got {_checks.describe(images)}")
    if boxes is None or isinstance(boxes, str):
        return zip(images, repeat(boxes), strict=False)
    images = list(images)
    if not isinstance(boxes, (list, tuple, np.ndarray, torch.Tensor)) or getattr(boxes, "ndim", 1) == 0:
        raise TypeError(f"boxes must be a list of boxes for each picture, got {_checks.describe(boxes)}")
    if len(boxes) != len(images):
        raise ValueError(f"boxes must have an array for each of the {len(images)} images, got {len(boxes)}")
    return zip(images, boxes, strict=True)
