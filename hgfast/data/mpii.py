"""MPII annotations in the JSON form that MMPose and HRNet use (``mpii_train.json``, ``mpii_val.json``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast.data.fields import LIMIT, AnnotationError, number, number_array, picture_path, read_json
from hgfast.data.mat import read_numbers
from hgfast.data.person import Person

_PIXELS_PER_SCALE = 200.0  # `scale` is the person's height in units of 200 px
_CENTER_SHIFT = 15.0  # the annotated centre sits high on the body: all readers move it down by 15 * scale


def load_mpii(
    annotations: str | Path,
    images: str | Path,
    pixel_origin: int = 0,
    head_boxes: str | Path | None = None,
) -> list[Person]:
    """Read the persons of an MPII JSON file, in file order.

    The box follows MMPose: ``center_y += 15 * scale`` (unless the centre is unknown, x = -1), ``center -= 1``, side
    ``200 * scale``.

    Args:
        annotations: list of objects with ``image``, ``center``, ``scale``, ``joints``, ``joints_vis``, and perhaps
            ``head_size`` (pixels).
        images: folder that the names in ``image`` are relative to; they must not lead out of it.
        pixel_origin: number of the first pixel in the coordinates that are returned. The file counts from 1. 0 takes
            1 off, which is what a network's input needs. 1 leaves the joints as they are, which is what MMPose 1.x
            trains with: its networks predict one pixel too far right (or left, for mirrored pictures) and down.
        head_boxes: ``mpii_gt_val.mat`` (MATLAB's versions 5 to 7.2) with ``headboxes_src``, in the order of the file;
            head sizes are 0.6 times the diagonals. Without it and without ``head_size``: 0.75 * |upper neck - head
            top|, which is the same length; 0 where one of the two is not labelled.

    Raises:
        FileNotFoundError: no such annotation file, or head box file.
        AnnotationError: a broken file, or a field missing or malformed (the message names file, entry and field).
        ValueError: ``pixel_origin`` is neither 0 nor 1.
        TypeError: arguments of another type.
    """
    pixel_origin = _checks.integer("", "pixel_origin", pixel_origin, 0, 1)
    folder = _checks.path("", "images", images)
    entries = read_json(_checks.path("", "annotations", annotations))
    if not isinstance(entries, list):
        raise AnnotationError(f"{annotations}: expected a list of persons, got {type(entries).__name__}")
    sizes: list[float | None] = [None] * len(entries)
    if head_boxes is not None:
        sizes = _head_sizes(_checks.path("", "head_boxes", head_boxes), len(entries)).tolist()
    return [
        mpii_person(entry, f"{annotations}: entry {i}", i, folder, pixel_origin, head_size)
        for i, (entry, head_size) in enumerate(zip(entries, sizes, strict=True))
    ]


def mpii_person(
    entry: Any, where: str, index: int, images: Path, origin: int, head_size: float | None = None
) -> Person:
    """Read a person of an object as the JSON file has them; arguments and errors as of :func:`load_mpii`."""
    center = number_array(entry, "center", (2,), where)
    scale = float(number_array(entry, "scale", (), where))
    joints = number_array(entry, "joints", (16, 2), where)
    visible = number_array(entry, "joints_vis", (16,), where)
    image = picture_path(entry, "image", images, where)
    if scale <= 0:
        raise AnnotationError(f"{where}: field 'scale': expected a positive number, got {scale}")
    if center[0] != -1:
        center[1] += np.float32(_CENTER_SHIFT * scale)
    side = np.float32(_PIXELS_PER_SCALE * scale)
    if head_size is None:
        head_size = number(entry, "head_size", where)
    if head_size is None:
        head_size = _neck_to_top(joints, visible)
    return Person(
        image=image,
        center=center - np.float32(1),
        size=np.array([side, side], np.float32),
        keypoints=joints - np.float32(1 - origin),
        visible=np.maximum(visible, 0),
        head_size=head_size,
        area=float(side) ** 2 * 0.53,  # MMPose's share of the box that a body covers
        ident=(index, index),
    )


def _neck_to_top(joints: np.ndarray, visible: np.ndarray) -> float:
    return 0.75 * float(np.linalg.norm(joints[8] - joints[9])) if visible[8] > 0 and visible[9] > 0 else 0.0


def _head_sizes(path: Path, count: int) -> np.ndarray:
    boxes = read_numbers(path, "headboxes_src", (2, 2, count))  # (2 corners, 2 coordinates, persons)
    if not (np.abs(boxes) <= LIMIT).all():
        raise AnnotationError(f"{path}: field 'headboxes_src' holds NaN or a number beyond {LIMIT:g}")
    return np.asarray(0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0))
