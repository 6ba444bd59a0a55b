"""The affine maps between a picture and a network's input, with MMPose's conventions.

Matrices are (2, 3) float64 and act on column vectors (x, y, 1). Sizes are (width, height).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def box_center_size(boxes: np.ndarray, padding: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 2) and sizes (N, 2), the latter times ``padding``, of boxes (N, 4) x1 y1 x2 y2; float32."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return (boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5), (boxes[:, 2:] - boxes[:, :2]) * np.float32(padding)


def fix_aspect_ratio(size: np.ndarray, aspect: float) -> np.ndarray:
    """Smallest (..., 2) width and height that hold ``size`` and have ``width / height == aspect``."""
    width, height = np.asarray(size)[..., 0], np.asarray(size)[..., 1]
    wide = width > height * aspect
    return np.stack([np.where(wide, width, height * aspect), np.where(wide, width / aspect, height)], axis=-1)


def warp_matrix(
    center: ArrayLike, size: ArrayLike, rotation: float, out: tuple[int, int], keep_aspect: bool = True
) -> np.ndarray:
    """Picture to network input: turn by ``rotation`` degrees about ``center``, then scale ``size`` to ``out``.

    ``center`` goes to ``out / 2`` (not to ``(out - 1) / 2``). With ``keep_aspect`` the scale of both axes is that of
    the width, ``out[0] / size[0]``; without, each axis has its own. MMPose gets the matrix from three points rounded
    to float32; this is the exact one.
    """
    width, height = np.asarray(size, np.float64)
    scale = (out[0] / width, out[0] / width if keep_aspect else out[1] / height)
    return _similarity(center, rotation, scale, (out[0] / 2, out[1] / 2), sense=1)


def udp_warp_matrix(center: ArrayLike, size: ArrayLike, rotation: float, out: tuple[int, int]) -> np.ndarray:
    """The unbiased map of UDP (Huang et al., CVPR 2020): scale ``(out - 1) / size`` per axis, centre to ``(out-1)/2``.

    Its rotation has the opposite sense to :func:`warp_matrix`, as in MMPose.
    """
    width, height = np.asarray(size, np.float64)
    scale = ((out[0] - 1) / width, (out[1] - 1) / height)
    return _similarity(center, rotation, scale, ((out[0] - 1) / 2, (out[1] - 1) / 2), sense=-1)


def newell_matrix(center: ArrayLike, scale: float, rotation: float, out: tuple[int, int]) -> np.ndarray:
    """princeton-vl's `get_transform`: a square of ``200 * scale`` picture pixels about ``center`` to ``out``.

    Turned by ``rotation`` degrees about the middle of ``out``. The peer truncates mapped points to whole pixels.
    """
    angle, size = np.deg2rad(float(rotation)), 200.0 * float(scale)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]]) @ np.diag([out[0] / size, out[1] / size])
    target = np.array([out[0] / 2, out[1] / 2])
    return np.hstack([linear, (target - linear @ np.asarray(center, np.float64))[:, None]])


def input_to_picture(points: np.ndarray, center: ArrayLike, size: ArrayLike, input_size: tuple[int, int]) -> np.ndarray:
    """MMPose's way back: points (..., 2) of the input to the picture's box, leaving out any rotation of the crop.

    Right for unrotated crops of `warp_matrix`; for others use the inverse of their own matrix.
    """
    center, size = np.asarray(center, np.float64), np.asarray(size, np.float64)
    return points / np.asarray(input_size) * size + center - 0.5 * size


def flip_matrix(width: int) -> np.ndarray:
    """Mirrors a picture that is ``width`` pixels wide: x goes to ``width - 1 - x``."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The map that applies ``inner`` first, then ``outer``."""
    return outer @ np.vstack([inner, [0.0, 0.0, 1.0]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """Inverse map."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.hstack([inverse, -inverse @ matrix[:, 2:]])


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) mapped by a (2, 3) matrix, in the matrix's precision."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def _similarity(
    center: ArrayLike, rotation: float, scale: tuple[float, float], target: tuple[float, float], sense: int
) -> np.ndarray:
    angle = np.deg2rad(float(rotation))
    cos, sin = np.cos(angle), sense * np.sin(angle)
    linear = np.array(scale)[:, None] * np.array([[cos, sin], [-sin, cos]])
    return np.hstack([linear, (np.array(target) - linear @ np.asarray(center, np.float64))[:, None]])
