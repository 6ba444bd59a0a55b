"""Argument checks shared by the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from hgfast import _checks


def keypoint_arrays(pred: Any, gt: Any, visible: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``pred`` and ``gt`` as float32 (N, K, 2) and ``visible`` as bool (N, K).

    Raises:
        TypeError: not real numbers.
        ValueError: other shapes, NaN in ``visible``, or a visible point of ``gt`` that is not finite.
    """
    pred = float32(_checks.array("", "pred", pred, (None, None, 2)))
    gt = float32(_checks.array("", "gt", gt, pred.shape, why="as pred"))
    mask = _checks.array("", "visible", visible, pred.shape[:2], finite=True, why="as pred") > 0
    if not np.isfinite(gt[mask]).all():
        raise ValueError("gt must be finite where visible, got NaN or an infinity")
    return pred, gt, mask


def norm_array(value: Any, name: str, count: int, of: str = "pred") -> np.ndarray:
    """Per-person lengths (N,) or (N, 2) as float32 (N, 2).

    Raises:
        TypeError: not real numbers.
        ValueError: other shapes, lengths that are negative or not finite.
    """
    norm = float32(_checks.array("", name, value))
    if norm.shape not in ((count,), (count, 2)):
        raise ValueError(f"{name} must have shape ({count},) or ({count}, 2) for the {count} of {of}, got {norm.shape}")
    if not ((norm >= 0) & np.isfinite(norm)).all():
        raise ValueError(f"{name} must hold finite lengths >= 0, got {norm.min()} to {norm.max()}")
    return norm if norm.ndim == 2 else np.repeat(norm[:, None], 2, axis=1)


def float32(values: np.ndarray) -> np.ndarray:
    """Return it in float32; what is too large becomes an infinity without a word."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
