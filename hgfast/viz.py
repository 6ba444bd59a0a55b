"""Skeletons drawn over pictures. All pictures are uint8 (H, W, 3), blue-green-red as OpenCV has them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.data.keypoint_set import KeypointSet

__all__ = ["draw_people", "grid", "joint_colours", "write_label"]

_SHIFT = 4  # OpenCV draws at 1/16 pixel
_FARTHEST = 2**22  # pixels: OpenCV's fixed-point coordinates overflow beyond
_MOST_PIXELS = 2**28  # of a sheet
_HUES = {"right": (0.02, 0.13), "left": (0.33, 0.50), "middle": (0.58, 0.78)}  # a band of the colour circle per side
_STEPS = 12  # pieces of a limb, whose colour runs from one joint's to the other's


def joint_colours(table: KeypointSet) -> np.ndarray:
    """(K, 3) blue-green-red: warm on a person's right, green left, blue in the middle; a rainbow without sides.

    Raises:
        TypeError: not a KeypointSet.
    """
    _checks.instance("joint_colours", "table", table, KeypointSet)
    colours = np.empty((table.count, 3))
    for side in ("left", "right", "middle"):
        joints = [k for k, s in enumerate(table.sides) if s == side]
        low, high = _HUES[side] if len(joints) < table.count else (0.0, 0.85)
        for place, joint in enumerate(joints):
            hue = low + (high - low) * place / max(len(joints) - 1, 1)
            colours[joint] = np.array(colorsys.hsv_to_rgb(hue, 0.85, 1.0))[::-1] * 255
    return colours


def draw_people(
    image: np.ndarray,
    keypoints: np.ndarray,
    table: KeypointSet,
    scores: np.ndarray | None = None,
    min_score: float = 0.0,
    boxes: np.ndarray | None = None,
) -> np.ndarray:
    """Copy of a picture with skeletons.

    Args:
        image: uint8 (H, W, 3).
        keypoints: (P, K, 2) points in pixels; joints that are not finite are left out.
        table: names and limbs of the K joints.
        scores: (P, K); joints below ``min_score`` are left out.
        min_score: see ``scores``.
        boxes: boxes (any number, 4) x1 y1 x2 y2 to be outlined; those that are not finite are left out.

    Raises:
        TypeError, ValueError: an argument of another type, dtype or shape, or a min_score that is not finite.
    """
    where = "draw_people"
    _checks.picture(where, "image", image)
    _checks.instance(where, "table", table, KeypointSet)
    keypoints = _checks.array(where, "keypoints", keypoints, (None, table.count, 2)).astype(np.float64)
    shown = np.isfinite(keypoints).all(axis=2)
    keypoints = np.clip(keypoints, -_FARTHEST, _FARTHEST)
    least = _checks.number(where, "min_score", min_score)
    if scores is not None:
        values = _checks.array(where, "scores", scores)
        _checks.shape(where, "scores", values, shown.shape, "P and K of keypoints")
        shown &= values >= least
    outlines = np.zeros((0, 4)) if boxes is None else _checks.array(where, "boxes", boxes, (None, 4))
    outlines = outlines[np.isfinite(outlines).all(axis=1)]
    canvas = image.copy()
    for x1, y1, x2, y2 in np.clip(np.round(outlines), -_FARTHEST, _FARTHEST).astype(int).tolist():
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (255, 255, 255), 1, cv2.LINE_AA)
    for points, visible in zip(keypoints, shown, strict=True):
        if visible.any():
            _draw_person(canvas, points, visible, table)
    return canvas


def _draw_person(canvas: np.ndarray, points: np.ndarray, visible: np.ndarray, table: KeypointSet) -> None:
    extent = float(np.ptp(points[visible], axis=0).max())
    width = int(np.clip(round(extent * (0.016 if table.count < 40 else 0.006)), 1, canvas.shape[1] / 20 + 1))
    limbs = [(a, b) for a, b in table.skeleton if visible[a] and visible[b]]
    overlay = canvas.copy()
    for a, b in limbs:  # a dark rim first, so that limbs stand out from any background
        cv2.line(overlay, _fixed(points[a]), _fixed(points[b]), (30, 30, 30), width + 2, cv2.LINE_AA, _SHIFT)
    colours = joint_colours(table)
    for a, b in limbs:
        _gradient_line(overlay, points[a], points[b], colours[a], colours[b], width)
    cv2.addWeighted(overlay, 0.85, canvas, 0.15, 0, dst=canvas)
    for k in np.flatnonzero(visible):
        _dot(canvas, points[k], colours[k], max(1.5, 0.9 * width))


def _gradient_line(
    canvas: np.ndarray, start: np.ndarray, end: np.ndarray, first: np.ndarray, last: np.ndarray, width: int
) -> None:
    for step in range(_STEPS):
        t0, t1, middle = step / _STEPS, (step + 1) / _STEPS, (step + 0.5) / _STEPS
        a, b = start + (end - start) * t0, start + (end - start) * t1
        cv2.line(canvas, _fixed(a), _fixed(b), tuple(first + (last - first) * middle), width, cv2.LINE_AA, _SHIFT)


def _dot(canvas: np.ndarray, point: np.ndarray, colour: np.ndarray, radius: float) -> None:
    for colour_of_ring, r in (((30, 30, 30), radius + 1.5), ((255, 255, 255), radius + 0.7), (tuple(colour), radius)):
        cv2.circle(canvas, _fixed(point), round(r * 2**_SHIFT), colour_of_ring, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.round(point * 2**_SHIFT).astype(int)
    return int(x), int(y)


def write_label(image: np.ndarray, text: str) -> np.ndarray:
    """Copy of a picture with a line of text in its upper left corner; OpenCV's letters are ASCII's.

    Raises:
        TypeError, ValueError: not a picture, or no text.
    """
    _checks.picture("write_label", "image", image)
    _checks.instance("write_label", "text", text, str)
    text = text.encode(errors="backslashreplace").decode()  # names of files that are not UTF-8 crash OpenCV
    canvas = image.copy()
    scale = max(0.35, canvas.shape[1] / 640)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        origin = (int(8 * scale), int(24 * scale))
        cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, colour, thickness, cv2.LINE_AA)
    return canvas


def grid(images: Sequence[np.ndarray], columns: int, cell: int = 256, gap: int = 4) -> np.ndarray:
    """Put pictures side by side in cells ``cell`` pixels wide, as high as the narrowest picture needs but no more.

    Raises:
        TypeError, ValueError: not a list of pictures; columns or cell below 1; a sheet of more than 2^28 pixels.
    """
    where = "grid"
    _checks.instance(where, "images", images, Sequence, np.ndarray)
    for number, image in enumerate(images):
        _checks.picture(where, f"images[{number}]", image)
    columns = _checks.integer(where, "columns", columns, 1, _MOST_PIXELS)
    cell, gap = _checks.integer(where, "cell", cell, 1, _MOST_PIXELS), _checks.integer(where, "gap", gap, 0)
    rows = -(-len(images) // columns)
    tall = min(cell, max((max(1, round(cell * im.shape[0] / im.shape[1])) for im in images), default=cell))
    height, width = rows * (tall + gap) + gap, columns * (cell + gap) + gap
    if height * width > _MOST_PIXELS:
        raise ValueError(f"{where}: columns, cell and gap must give at most 2^28 pixels, got {width} x {height}")
    sheet = np.full((height, width, 3), 24, np.uint8)
    for number, image in enumerate(images):
        factor = min(cell / image.shape[1], tall / image.shape[0])
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        top = gap + (number // columns) * (tall + gap) + (tall - size[1]) // 2
        left = gap + (number % columns) * (cell + gap) + (cell - size[0]) // 2
        sheet[top : top + size[1], left : left + size[0]] = small
    return sheet
