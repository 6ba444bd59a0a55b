"""Skeletons drawn over pictures. All pictures are uint8 (H, W, 3), blue-green-red as OpenCV has them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from hgfast.data.keypoints import KeypointSet

_SHIFT = 4  # OpenCV draws at 1/16 pixel
_HUES = {"right": (0.02, 0.13), "left": (0.33, 0.50), "middle": (0.58, 0.78)}  # a band of the colour circle per side
_STEPS = 12  # pieces of a limb, whose colour runs from one joint's to the other's


def joint_colours(table: KeypointSet) -> np.ndarray:
    """(K, 3) blue-green-red: warm on a person's right, green left, blue in the middle; a rainbow without sides."""
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
        boxes: (P, 4) boxes x1 y1 x2 y2 to be outlined.
    """
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.ndim != 3 or keypoints.shape[1:] != (table.count, 2):
        raise ValueError(f"keypoints: expected shape (P, {table.count}, 2), got {keypoints.shape}")
    shown = np.isfinite(keypoints).all(axis=2)
    if scores is not None:
        shown &= np.asarray(scores) >= min_score
    canvas = image.copy()
    for x1, y1, x2, y2 in np.round(boxes).astype(int) if boxes is not None else ():
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
    limit = 2**26  # OpenCV's fixed-point coordinates overflow beyond
    x, y = np.clip(np.round(point * 2**_SHIFT), -limit, limit).astype(int)
    return int(x), int(y)


def write_label(image: np.ndarray, text: str) -> np.ndarray:
    """Copy of a picture with a line of text in its upper left corner."""
    canvas = image.copy()
    scale = max(0.35, canvas.shape[1] / 640)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        origin = (int(8 * scale), int(24 * scale))
        cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, colour, thickness, cv2.LINE_AA)
    return canvas


def grid(images: Sequence[np.ndarray], columns: int, cell: int = 256, gap: int = 4) -> np.ndarray:
    """Pictures side by side in cells ``cell`` pixels wide, as high as the narrowest picture needs but no more."""
    rows = -(-len(images) // columns)
    tall = min(cell, max((round(cell * image.shape[0] / image.shape[1]) for image in images), default=cell))
    sheet = np.full((rows * (tall + gap) + gap, columns * (cell + gap) + gap, 3), 24, np.uint8)
    for number, image in enumerate(images):
        factor = min(cell / image.shape[1], tall / image.shape[0])
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        top = gap + (number // columns) * (tall + gap) + (tall - size[1]) // 2
        left = gap + (number % columns) * (cell + gap) + (cell - size[0]) // 2
        sheet[top : top + size[1], left : left + size[0]] = small
    return sheet
