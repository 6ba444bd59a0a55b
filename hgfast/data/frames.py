"""Labelled frames without boxes, as laboratories' tools write them, made into persons with boxes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hgfast.data.fields import AnnotationError
from hgfast.data.images import picture_size
from hgfast.data.person import Person

BOXES = ("given", "picture", "keypoints")
OUTSIDE = ("error", "hide", "keep")
_LEAST_SIDE = 0.1  # of the picture's longer side: of a box around points that lie close together
_SLACK = 1.0  # pixels beyond the picture's edge that are no mistake: some tools count pixels from 1


@dataclass(frozen=True)
class Frame:
    """One individual in one picture.

    Attributes:
        where: file and row, for messages.
        image: path of the picture.
        points: (K, 2) float64 pixels, NaN where a point is not labelled.
        individual: which one of those in the picture.
    """

    where: str
    image: Path
    points: np.ndarray
    individual: str = ""


def persons_of(frames: Iterable[Frame], names: Sequence[str], boxes: str, outside: str) -> list[Person]:
    """Return persons of labelled frames; those without any labelled point are left out.

    The area, for the OKS, is that of the labelled points' extent, as DeepLabCut has it.

    Args:
        frames: in the file's order.
        names: of the K points, for messages.
        boxes: "picture": the box is the whole picture; "keypoints": the extent of the labelled points, at least a tenth
            of the picture's longer side.
        outside: what becomes of a point that lies outside of its picture: "error", "hide" (it counts as not labelled)
            or "keep".

    Raises:
        AnnotationError: a picture that is missing or broken, an individual that comes twice in a picture, a point
            outside; the message names file, row and point.
        ValueError: another word for boxes or outside.
    """
    if boxes not in BOXES[1:]:
        raise ValueError(f"boxes must be one of {', '.join(BOXES[1:])} for files that have none, got {boxes!r}")
    if outside not in OUTSIDE:
        raise ValueError(f"outside must be one of {', '.join(OUTSIDE)}, got {outside!r}")
    persons: list[Person] = []
    numbers: dict[Path, int] = {}
    rows: dict[tuple[Path, str], str] = {}
    for frame in frames:
        if rows.setdefault((frame.image, frame.individual), frame.where) != frame.where:
            before = rows[frame.image, frame.individual].rpartition(": ")[2]
            raise AnnotationError(f"{frame.where}: the picture {frame.image.name!r} stands in {before}, too")
        size = _size_of(frame)
        points = inside(frame.points, size, names, outside, frame.where)
        number = numbers.setdefault(frame.image, len(numbers))
        if not np.isnan(points).all():
            persons.append(_person(frame, points, size, boxes, (number, len(persons))))
    return persons


@lru_cache(maxsize=1 << 16)
def _known_size(image: Path, changed: int) -> tuple[int, int]:
    return picture_size(image)


def _size_of(frame: Frame) -> tuple[int, int]:
    """(width, height) of the picture."""
    try:
        return _known_size(frame.image, frame.image.stat().st_mtime_ns)
    except FileNotFoundError:
        raise AnnotationError(f"{frame.where}: the picture {frame.image} is not there") from None
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{frame.where}: {error}") from None


def inside(points: np.ndarray, size: tuple[int, int], names: Sequence[str], outside: str, where: str) -> np.ndarray:
    """Return the points (K, 2), NaN where not labelled, and for "hide" where outside of a picture of that size.

    Raises:
        AnnotationError: there are such, and outside is "error"; the message begins with where and names the point.
    """
    limits = np.array(size) - 1 + _SLACK
    beyond = np.any((points < -_SLACK) | (points > limits), axis=1)  # NaN is neither
    if not beyond.any() or outside == "keep":
        return points
    if outside == "hide":
        return np.where(beyond[:, None], np.nan, points)
    joint = int(np.argmax(beyond))
    x, y = points[joint]
    raise AnnotationError(
        f"{where}: {names[joint]!r} lies at ({x:g}, {y:g}), outside of the picture of {size[0]} x {size[1]} "
        'pixels (outside = "hide" takes such points for not labelled)'
    )


def check_pictures(persons: Iterable[Person], where: str) -> None:
    """Raise AnnotationError, whose message begins with where, for the first picture that is not there."""
    for image in dict.fromkeys(person.image for person in persons):
        if not os.path.isfile(image):
            raise AnnotationError(f"{where}: the picture {image} is not there")


def own_box(points: np.ndarray, size: tuple[int, int], boxes: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a box where the source has none.

    Args:
        points: (K, 2), NaN where not labelled, at least one is.
        size: (width, height) of the picture.
        boxes: "picture" or "keypoints", see :func:`persons_of`.

    Returns:
        centre and size of the box, float32 (2,), and the extent (2,) of the labelled points.
    """
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    if boxes == "picture":
        center, sides = np.array(size) / 2, np.array(size, float)
    else:
        center, sides = (low + high) / 2, np.maximum(high - low, _LEAST_SIDE * max(size))
    return center.astype(np.float32), sides.astype(np.float32), high - low


def _person(frame: Frame, points: np.ndarray, size: tuple[int, int], boxes: str, ident: tuple[int, int]) -> Person:
    center, sides, extent = own_box(points, size, boxes)
    return Person(
        image=frame.image,
        center=center,
        size=sides,
        keypoints=np.nan_to_num(points).astype(np.float32),
        visible=(~np.isnan(points).any(axis=1)).astype(np.float32),
        area=max(float(extent.prod()), 1.0),
        extent=float(extent.max()),
        ident=ident,
    )
