"""Percentage of correct keypoints (PCK), area under its curve, end-point and normalised mean error."""

from __future__ import annotations

from typing import Any

import numpy as np

from hgfast.metrics._arrays import keypoint_arrays, norm_array, to_numpy


def normalised_distances(pred: np.ndarray, gt: np.ndarray, mask: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Distances divided by each person's ``norm``, float32 (N, K); -1 where not labelled or the norm is 0.

    Everything is float32 in MMPose's order of operations (divide, then length), so that a joint exactly at a
    threshold falls on the same side.
    """
    valid = mask & (norm != 0).all(axis=1)[:, None]
    safe = np.where(norm == 0, np.float32(1), norm)[:, None, :]
    offset = (pred - gt) / safe
    distance = np.sqrt(offset[..., 0] * offset[..., 0] + offset[..., 1] * offset[..., 1])
    return np.where(valid, distance, np.float32(-1))


def joint_accuracy(distances: np.ndarray, threshold: float) -> np.ndarray:
    """Share of the valid distances strictly below ``threshold``, float64 (K,); -1 for a joint without any."""
    valid = distances >= 0
    count = valid.sum(axis=0)
    hits = (valid & (distances < np.float32(threshold))).sum(axis=0)
    return np.where(count > 0, hits / np.maximum(count, 1), -1.0)


def pck(pred: Any, gt: Any, visible: Any, norm: Any, threshold: float = 0.2) -> dict[str, Any]:
    """PCK: the share of joints closer to the truth than ``threshold * norm``.

    Args:
        pred: (N, K, 2) predicted points; tensor, array or nested list.
        gt: (N, K, 2) true points, in the same coordinates as ``pred``.
        visible: (N, K), > 0 where the joint counts.
        norm: (N,) or (N, 2) lengths (for both axes, or per axis); persons with a length of 0 are left out.
        threshold: fraction of ``norm``; strictly below it counts.

    Returns:
        ``{"PCK": percent, "per_joint": (K,) percent, NaN where no person has the joint}``. As in MMPose, "PCK" is the
        mean over joints that occur, not over all points; it is NaN when none does.

    Raises:
        ValueError: shapes that do not fit, or negative lengths.
        TypeError: not numbers.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    accuracy = joint_accuracy(normalised_distances(pred, gt, mask, norm_array(norm, "norm", len(pred))), threshold)
    per_joint = np.where(accuracy >= 0, 100 * accuracy, np.nan)
    return {"PCK": _mean(per_joint[accuracy >= 0]), "per_joint": per_joint}


def auc(pred: Any, gt: Any, visible: Any, norm: Any = 30.0, steps: int = 20) -> float:
    """Area under the PCK curve for thresholds 0, 1/steps, ..., (steps - 1)/steps of ``norm``, in [0, 1].

    ``norm`` is a length in pixels for everybody (30 for hands, as COCO-WholeBody uses) or one per person.
    Arguments, coordinates and errors otherwise as in :func:`pck`.
    """
    lengths = np.full(len(pred), norm, np.float32) if np.isscalar(norm) else norm
    curve = [pck(pred, gt, visible, lengths, step / steps)["PCK"] for step in range(steps)]
    return float(np.mean(curve)) / 100


def epe(pred: Any, gt: Any, visible: Any) -> float:
    """Mean end-point error over the visible points, in the units of the coordinates; NaN when none is visible."""
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    return _mean(normalised_distances(pred, gt, mask, np.ones((len(pred), 2), np.float32))[mask])


def nme(pred: Any, gt: Any, visible: Any, norm: Any) -> float:
    """Normalised mean error: mean over visible points of distance / ``norm`` (for faces the distance of the eyes).

    Persons whose ``norm`` is 0 are left out; NaN when nothing is left. Arguments and errors as in :func:`pck`.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    distances = normalised_distances(pred, gt, mask, norm_array(norm, "norm", len(pred)))
    return _mean(distances[distances >= 0])


def heatmap_pck(output: Any, target: Any, mask: Any, threshold: float = 0.05, norm: Any = None) -> dict[str, Any]:
    """PCK between the maxima of two sets of heatmaps: the training accuracy MMPose calls ``acc_pose``.

    Args:
        output: (N, K, H, W) predicted heatmaps.
        target: (N, K, H, W) target heatmaps.
        mask: (N, K), > 0 where the joint counts.
        threshold: fraction of the heatmap's size.
        norm: (N,) or (N, 2) lengths for x and y instead of the map's (W, H).

    Returns:
        as :func:`pck`. MMPose divides x by H and y by W, here x goes with W: the same for square maps.
    """
    points = [_maxima(maps, name) for maps, name in ((output, "output"), (target, "target"))]
    if points[0].shape != points[1].shape:
        raise ValueError(f"target: expected the shape of output, {np.shape(output)}, got {np.shape(target)}")
    height, width = np.shape(output)[2:]
    if norm is None:
        norm = np.broadcast_to(np.array([width, height], np.float32), (len(points[0]), 2))
    return pck(points[0], points[1], mask, norm, threshold)


def _maxima(maps: Any, name: str) -> np.ndarray:
    """(N, K, 2) location (x, y) of each map's first maximum; (-1, -1) where it is not positive."""
    array = to_numpy(maps, name)
    if array.ndim != 4:
        raise ValueError(f"{name}: expected shape (N, K, H, W), got {array.shape}")
    flat = array.reshape(*array.shape[:2], -1)
    best = flat.argmax(axis=2)
    points = np.stack([best % array.shape[3], best // array.shape[3]], axis=2).astype(np.float32)
    points[flat.max(axis=2) <= 0] = -1
    return points


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
