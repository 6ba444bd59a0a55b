"""Percentage of correct keypoints (PCK), area under its curve, end-point and normalised mean error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hgfast import _checks
from hgfast.metrics._arrays import float32, keypoint_arrays, norm_array

MAX_STEPS = 100_000  # of a curve


def normalised_distances(pred: np.ndarray, gt: np.ndarray, mask: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Divide distances by each person's ``norm``, float32 (N, K); -1 where not labelled or the norm is 0.

    Everything is float32 in MMPose's order of operations (divide, then length), so that a joint exactly at a
    threshold falls on the same side. A prediction that is not finite is infinitely far.
    """
    valid = mask & (norm != 0).all(axis=1)[:, None]
    safe = np.where(norm == 0, np.float32(1), norm)[:, None, :]
    with np.errstate(over="ignore", invalid="ignore"):
        offset = (pred - gt) / safe
        distance = np.sqrt(offset[..., 0] * offset[..., 0] + offset[..., 1] * offset[..., 1])
    distance[np.isnan(distance)] = np.inf
    return np.where(valid, distance, np.float32(-1))


def joint_accuracies(distances: np.ndarray, thresholds: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the share of valid distances (N, K) below each threshold, float64 (T, K); -1 for a joint without any."""
    limits = float32(np.asarray(thresholds, np.float64))
    accuracies = np.full((len(limits), distances.shape[1]), -1.0)
    for joint, column in enumerate(distances.T):
        valid = np.sort(column[column >= 0])
        if len(valid):
            accuracies[:, joint] = np.searchsorted(valid, limits) / len(valid)
    return accuracies


def pck(pred: Any, gt: Any, visible: Any, norm: Any, threshold: float = 0.2) -> dict[str, Any]:
    """PCK: the share of joints closer to the truth than ``threshold * norm``.

    Args:
        pred: (N, K, 2) predicted points; tensor, array or nested list. One that is not finite is wrong.
        gt: (N, K, 2) true points, in the same coordinates as ``pred``.
        visible: (N, K), > 0 where the joint counts.
        norm: (N,) or (N, 2) lengths (for both axes, or per axis); persons with a length of 0 are left out.
        threshold: fraction of ``norm``; strictly below it counts.

    Returns:
        ``{"PCK": percent, "per_joint": (K,) percent, NaN where no person has the joint}``. As in MMPose, "PCK" is the
        mean over joints that occur, not over all points; it is NaN when none does, where MMPose gives 0.

    Raises:
        ValueError: shapes that do not fit, negative lengths, or numbers that are not finite.
        TypeError: not numbers.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    norm = norm_array(norm, "norm", len(pred))
    threshold = _checks.number("", "threshold", threshold, 0)
    return _pck(pred, gt, mask, norm, threshold)


def _pck(pred: np.ndarray, gt: np.ndarray, mask: np.ndarray, norm: np.ndarray, threshold: float) -> dict[str, Any]:
    accuracy = joint_accuracies(normalised_distances(pred, gt, mask, norm), [threshold])[0]
    per_joint = np.where(accuracy >= 0, 100 * accuracy, np.nan)
    return {"PCK": _mean(per_joint[accuracy >= 0]), "per_joint": per_joint}


def auc(pred: Any, gt: Any, visible: Any, norm: Any = 30.0, steps: int = 20) -> float:
    """Area under the PCK curve for thresholds 0, 1/steps, ..., (steps - 1)/steps of ``norm``, in [0, 1].

    ``norm`` is a length in pixels for everybody (30 for hands, as COCO-WholeBody uses) or one per person; ``steps`` is
    at most 100,000. NaN when nothing is visible, where MMPose gives 0. Arguments, coordinates and errors otherwise as
    in :func:`pck`.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    if not isinstance(norm, (list, tuple, np.ndarray, torch.Tensor)):
        norm = np.full(len(pred), _checks.number("", "norm", norm, above=0))
    norm = norm_array(norm, "norm", len(pred))
    steps = _checks.integer("", "steps", steps, 1, MAX_STEPS)
    curve = joint_accuracies(normalised_distances(pred, gt, mask, norm), np.arange(steps) / steps)
    return _mean(curve[:, curve[0] >= 0]) if curve.size else float("nan")


def epe(pred: Any, gt: Any, visible: Any) -> float:
    """Mean end-point error over the visible points, in the units of the coordinates.

    NaN when none is visible, where MMPose gives 0; infinite where a prediction is not finite. Arguments and errors as
    in :func:`pck`.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    return _mean(normalised_distances(pred, gt, mask, np.ones((len(pred), 2), np.float32))[mask])


def nme(pred: Any, gt: Any, visible: Any, norm: Any) -> float:
    """Normalised mean error: mean over visible points of distance / ``norm`` (for faces the distance of the eyes).

    Persons whose ``norm`` is 0 are left out; NaN when nothing is left, where MMPose gives 0. Arguments and errors as
    in :func:`pck`.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    distances = normalised_distances(pred, gt, mask, norm_array(norm, "norm", len(pred)))
    return _mean(distances[distances >= 0])


def pixel_errors(pred: Any, gt: Any, visible: Any) -> dict[str, Any]:
    """Measure distances of predicted and true points in pixels, as DeepLabCut reports them.

    Returns:
        ``{"mean": ..., "median": ..., "per_joint": (K,)}`` over the visible points, per_joint their means, NaN where
        there are none; infinite where a prediction is not finite. DeepLabCut calls the mean distance "RMSE", although
        it is no root of a mean square. Arguments and errors as in :func:`pck`.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    distances = normalised_distances(pred, gt, mask, np.ones((len(pred), 2), np.float32))
    per_joint = [_mean(column[seen]) for column, seen in zip(distances.T, mask.T, strict=True)]
    found = distances[mask]
    median = float(np.median(found)) if found.size else float("nan")
    return {"mean": _mean(found), "median": median, "per_joint": np.array(per_joint)}


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

    Raises:
        ValueError, TypeError: as :func:`pck`.
    """
    maps = _checks.array("", "output", output, (None, None, None, None))
    count, joints, height, width = maps.shape
    if height * width == 0:
        raise ValueError(f"output must have pixels, got shape {maps.shape}")
    truth = _checks.array("", "target", target, maps.shape, why="as output")
    counts = _checks.array("", "mask", mask, (count, joints), finite=True, why="as output") > 0
    if norm is None:
        norm = np.broadcast_to(np.array([width, height], np.float32), (count, 2))
    norm = norm_array(norm, "norm", count, "output")
    return _pck(_maxima(maps), _maxima(truth), counts, norm, _checks.number("", "threshold", threshold, 0))


def _maxima(maps: np.ndarray) -> np.ndarray:
    """(N, K, 2) location (x, y) of each map's first maximum; (-1, -1) where it is not positive, or NaN."""
    flat = maps.reshape(*maps.shape[:2], -1)
    best = flat.argmax(axis=2)
    points = np.stack([best % maps.shape[3], best // maps.shape[3]], axis=2).astype(np.float32)
    points[~(flat.max(axis=2) > 0)] = -1
    return points


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
