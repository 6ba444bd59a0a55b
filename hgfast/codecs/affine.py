"""The affine maps between a picture and a network's input, with MMPose's conventions.

Matrices are (2, 3) float64 and act on column vectors (x, y, 1). Sizes are (width, height). All functions raise
TypeError for what holds no real numbers, and ValueError for other shapes, for sizes that are not positive, and for NaN
and infinities where they would make a matrix useless; points may be NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from hgfast import _checks


def box_center_size(boxes: ArrayLike, padding: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (N, 2) and sizes (N, 2), the latter times ``padding``, of boxes (N, 4) x1 y1 x2 y2; float32."""
    where = "box_center_size"
    array = _checks.array(where, "boxes", boxes, finite=True)
    if (array.shape[-1:] != (4,) or array.ndim > 2) and array.shape != (0,):
        raise ValueError(f"{where}: boxes must have shape (N, 4), got {array.shape}")
    factor = np.float32(_positive(where, "padding", padding))
    with np.errstate(over="ignore"):
        array = array.astype(np.float32).reshape(-1, 4)
        center, size = (array[:, :2] + array[:, 2:]) * np.float32(0.5), (array[:, 2:] - array[:, :2]) * factor
    if not (np.isfinite(center).all() and np.isfinite(size).all()):
        raise ValueError(f"{where}: boxes must be smaller than float32 can hold, with padding {padding}")
    return center, size


def fix_aspect_ratio(size: ArrayLike, aspect: float) -> np.ndarray:
    """Return the smallest (..., 2) width and height that hold ``size`` and have ``width / height == aspect``."""
    sizes, ratio = _points("fix_aspect_ratio", "size", size), _positive("fix_aspect_ratio", "aspect", aspect)
    width, height = sizes[..., 0], sizes[..., 1]
    wide = width > height * ratio
    return np.stack([np.where(wide, width, height * ratio), np.where(wide, width / ratio, height)], axis=-1)


def warp_matrix(
    center: ArrayLike, size: ArrayLike, rotation: float, out: tuple[int, int], keep_aspect: bool = True
) -> np.ndarray:
    """Map picture to network input: turn by ``rotation`` degrees about ``center``, then scale ``size`` to ``out``.

    ``center`` goes to ``out / 2`` (not to ``(out - 1) / 2``). With ``keep_aspect`` the scale of both axes is that of
    the width, ``out[0] / size[0]``; without, each axis has its own. MMPose gets the matrix from three points rounded
    to float32; this is the exact one.
    """
    where = "warp_matrix"
    (width, height), target = _sides(where, "size", size), pixels(where, "out", out)
    keep = _checks.flag(where, "keep_aspect", keep_aspect)
    scale = np.array([target[0] / width, target[0] / width if keep else target[1] / height])
    return _similarity(where, center, rotation, scale, target / 2, sense=1)


def udp_warp_matrix(center: ArrayLike, size: ArrayLike, rotation: float, out: tuple[int, int]) -> np.ndarray:
    """Map as UDP does (Huang et al., CVPR 2020): scale ``(out - 1) / size`` per axis, centre to ``(out-1)/2``.

    Its rotation has the opposite sense to :func:`warp_matrix`, as in MMPose.
    """
    where = "udp_warp_matrix"
    target = pixels(where, "out", out, 2) - 1
    return _similarity(where, center, rotation, target / _sides(where, "size", size), target / 2, sense=-1)


def newell_matrix(center: ArrayLike, scale: float, rotation: float, out: tuple[int, int]) -> np.ndarray:
    """princeton-vl's `get_transform`: a square of ``200 * scale`` picture pixels about ``center`` to ``out``.

    Turned by ``rotation`` degrees about the middle of ``out``. The peer truncates mapped points to whole pixels.
    """
    where = "newell_matrix"
    target, size = pixels(where, "out", out), 200.0 * _positive(where, "scale", scale)
    angle = np.deg2rad(_number(where, "rotation", rotation))
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]]) @ np.diag(target / size)
    return np.hstack([linear, (target / 2 - linear @ _center(where, center))[:, None]])


def input_to_picture(points: ArrayLike, center: ArrayLike, size: ArrayLike, input_size: tuple[int, int]) -> np.ndarray:
    """MMPose's way back: points (..., 2) of the input to the picture's box, leaving out any rotation of the crop.

    Right for unrotated crops of `warp_matrix`; for others use the inverse of their own matrix.
    """
    where = "input_to_picture"
    extent, sides = _sides(where, "size", size), pixels(where, "input_size", input_size)
    return _points(where, "points", points) / sides * extent + _center(where, center) - 0.5 * extent


def flip_matrix(width: int) -> np.ndarray:
    """Mirrors a picture that is ``width`` pixels wide: x goes to ``width - 1 - x``."""
    return np.array([[-1.0, 0.0, _checks.integer("flip_matrix", "width", width, 1) - 1.0], [0.0, 1.0, 0.0]])


def compose(outer: ArrayLike, inner: ArrayLike) -> np.ndarray:
    """Join two maps: ``inner`` is applied first, then ``outer``."""
    return _matrix("compose", "outer", outer) @ np.vstack([_matrix("compose", "inner", inner), [0.0, 0.0, 1.0]])


def invert(matrix: ArrayLike) -> np.ndarray:
    """Return the inverse map; a ValueError where there is none."""
    array = _matrix("invert", "matrix", matrix)
    try:
        inverse = np.linalg.inv(array[:, :2])
    except np.linalg.LinAlgError:
        raise ValueError("invert: matrix must be invertible, it maps the plane to a line or a point") from None
    return np.hstack([inverse, -inverse @ array[:, 2:]])


def apply_affine(matrix: ArrayLike, points: ArrayLike) -> np.ndarray:
    """Map points (..., 2) by a (2, 3) matrix, in the matrix's precision."""
    array = _matrix("apply_affine", "matrix", matrix)
    return _points("apply_affine", "points", points) @ array[:, :2].T + array[:, 2]


def _similarity(
    where: str, center: ArrayLike, rotation: float, scale: np.ndarray, target: np.ndarray, sense: int
) -> np.ndarray:
    angle = np.deg2rad(_number(where, "rotation", rotation))
    cos, sin = np.cos(angle), sense * np.sin(angle)
    linear = scale[:, None] * np.array([[cos, sin], [-sin, cos]])
    return np.hstack([linear, (target - linear @ _center(where, center))[:, None]])


def _number(where: str, name: str, value: Any, above: float | None = None) -> float:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        value = _checks.array(where, name, value, ()).item()
    return _checks.number(where, name, value, above=above)


def _positive(where: str, name: str, value: Any) -> float:
    return _number(where, name, value, above=0)


def pixels(where: str, name: str, value: Any, minimum: int = 1) -> np.ndarray:
    """Width and height in pixels, (2,) float64; 256.0 is as good as 256."""
    sides = _sides(where, name, value)
    if (sides % 1).any() or (sides < minimum).any():
        raise ValueError(f"{where}: {name} must be two whole numbers of at least {minimum}, got {sides.tolist()}")
    return sides


def _sides(where: str, name: str, value: Any) -> np.ndarray:
    """Width and height, (2,) float64, both positive."""
    if isinstance(value, (list, tuple)) and any(isinstance(side, (bool, np.bool_)) for side in value):
        raise TypeError(f"{where}: {name} must be two numbers, got {value}")
    sides = _checks.array(where, name, value, (2,), finite=True).astype(np.float64)
    if not (sides > 0).all():
        raise ValueError(f"{where}: {name} must be a positive width and height, got {sides.tolist()}")
    return sides


def _center(where: str, value: Any) -> np.ndarray:
    return _checks.array(where, "center", value, (2,), finite=True).astype(np.float64)


def _points(where: str, name: str, value: Any) -> np.ndarray:
    array = _checks.array(where, name, value)
    if array.shape[-1:] != (2,):
        raise ValueError(f"{where}: {name} must have shape (..., 2), got {array.shape}")
    return array


def _matrix(where: str, name: str, value: Any) -> np.ndarray:
    return _checks.array(where, name, value, (2, 3), finite=True)
