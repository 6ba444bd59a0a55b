"""Argument checks shared by the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def to_numpy(value: Any, name: str) -> np.ndarray:
    """Array of a tensor, array or nested list; raises TypeError for anything that does not hold real numbers."""
    array = value.detach().cpu().float().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype == bool or np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating):
        return array
    raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")


def keypoint_arrays(pred: Any, gt: Any, visible: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``pred`` and ``gt`` as float32 (N, K, 2) and ``visible`` as bool (N, K); raises ValueError for other shapes."""
    pred = to_numpy(pred, "pred").astype(np.float32)
    gt = to_numpy(gt, "gt").astype(np.float32)
    mask = to_numpy(visible, "visible") > 0
    if pred.ndim != 3 or pred.shape[2] != 2:
        raise ValueError(f"pred: expected shape (N, K, 2), got {pred.shape}")
    if gt.shape != pred.shape:
        raise ValueError(f"gt: expected the shape of pred, {pred.shape}, got {gt.shape}")
    if mask.shape != pred.shape[:2]:
        raise ValueError(f"visible: expected shape {pred.shape[:2]}, got {mask.shape}")
    return pred, gt, mask


def norm_array(value: Any, name: str, count: int) -> np.ndarray:
    """Per-person lengths, float32 (N,) or (N, 2); raises ValueError for other shapes or negative lengths."""
    norm = to_numpy(value, name).astype(np.float32)
    if norm.shape not in ((count,), (count, 2)):
        raise ValueError(f"{name}: expected shape ({count},) or ({count}, 2), got {norm.shape}")
    if not (norm >= 0).all():
        raise ValueError(f"{name}: expected lengths >= 0, got {norm.min()}")
    return norm if norm.ndim == 2 else np.repeat(norm[:, None], 2, axis=1)
