"""PCKh, the measure of the MPII Human Pose benchmark (Andriluka et al., CVPR 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from hgfast import _checks
from hgfast.metrics._arrays import keypoint_arrays, norm_array
from hgfast.metrics.pck import MAX_STEPS, joint_accuracies, normalised_distances

GROUPS: dict[str, tuple[int, ...]] = {
    "head": (9,),
    "shoulder": (12, 13),
    "elbow": (11, 14),
    "wrist": (10, 15),
    "hip": (2, 3),
    "knee": (1, 4),
    "ankle": (0, 5),
}
_NOT_COUNTED = (6, 7)  # pelvis and thorax: annotated, but no part of the benchmark's mean


def pckh(
    pred: Any,
    gt: Any,
    visible: Any,
    head_size: Any,
    thresholds: Sequence[float] = (0.5, 0.1),
    unlabelled: Literal["negative", "skip"] = "negative",
) -> dict[str, float]:
    """PCKh in percent: the share of joints closer to the truth than a fraction of the head's size.

    ``pred`` and ``gt`` are compared as they are given: bring both to the same pixel origin first (MPII's annotations
    are 1-based; MMPose and hgfast's evaluation add 1 to the network's 0-based predictions).

    Args:
        pred: (N, 16, 2) predicted points, tensor, array or nested list.
        gt: (N, 16, 2) annotated points.
        visible: (N, 16), > 0 where the joint is labelled (``joints_vis``; occluded joints count).
        head_size: (N,) lengths in the same pixels: 0.6 times the diagonal of the head box.
        thresholds: fractions of the head size, a list or tuple; strictly below counts, compared in float32.
        unlabelled: what a joint that nobody has labelled adds to its group. ``"negative"`` is -100, as MMPose has it
            (a group of which one side was never labelled shows up to -50); ``"skip"`` takes the other joints alone
            and gives NaN when there are none.

    Returns:
        ``head`` (head top alone), ``shoulder``, ``elbow``, ``wrist``, ``hip``, ``knee``, ``ankle`` (mean of left and
        right) at the first threshold, and for every threshold the mean over the 14 joints without pelvis and thorax,
        weighted by how often each is labelled: ``PCKh`` for 0.5, ``PCKh@0.1`` and so on for others. NaN when nothing
        is labelled.

        Persons whose head size is 0 are left out at every threshold. MMPose leaves them out at 0.5, but counts them
        as entirely right at every later one.

    Raises:
        ValueError: shapes that do not fit, not 16 joints, a negative head size, no threshold, unknown ``unlabelled``.
        TypeError: not numbers.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    if pred.shape[1] != 16:
        raise ValueError(f"pred: expected the 16 joints of MPII, got shape {pred.shape}")
    if isinstance(thresholds, np.ndarray):
        thresholds = thresholds.tolist()
    if not isinstance(thresholds, (list, tuple)) or not thresholds:
        raise ValueError(f"thresholds must be a list of at least one number, got {_checks.describe(thresholds)}")
    thresholds = [_checks.number("", f"thresholds[{i}]", value, 0) for i, value in enumerate(thresholds)]
    _checks.choice("", "unlabelled", unlabelled, ("negative", "skip"))
    distances = normalised_distances(pred, gt, mask, norm_array(head_size, "head_size", len(pred)))
    accuracies = joint_accuracies(distances, thresholds)
    result = {name: _group_mean(accuracies[0][list(ids)], unlabelled) for name, ids in GROUPS.items()}
    for threshold, accuracy in zip(thresholds, accuracies, strict=True):
        name = "PCKh" if threshold == 0.5 else f"PCKh@{threshold:g}"
        result[name] = float(_mean_accuracy(accuracy, mask))
    return result


def _mean_accuracy(accuracies: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Percentages (...) of accuracies (..., 16) over the benchmark's joints, weighted by how often each is labelled."""
    counts = mask.sum(axis=0).astype(np.float64)
    counts[list(_NOT_COUNTED)] = 0
    weights = np.where(accuracies >= 0, counts, 0)
    total = weights.sum(axis=-1)
    mean = 100 * (accuracies * weights).sum(axis=-1) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.nan)


def _group_mean(accuracy: np.ndarray, unlabelled: str) -> float:
    if unlabelled == "skip":
        accuracy = accuracy[accuracy >= 0]
    return float(100 * accuracy.mean()) if accuracy.size else float("nan")


def pckh_auc(pred: Any, gt: Any, visible: Any, head_size: Any, limit: float = 0.5, steps: int = 50) -> float:
    """Area under the curve of the mean PCKh over thresholds from 0 to ``limit``, in percent of the largest possible.

    The measure of MPII's own toolkit (``evaluatePCKh.m``): thresholds 0, 0.01, ..., 0.5 and the trapezoidal rule. A
    distance equal to a threshold counts, as there, while :func:`pckh` follows MMPose.

    Args:
        pred, gt, visible, head_size: see :func:`pckh`.
        limit: largest threshold, a fraction of the head's size.
        steps: into which it is divided, at most 100,000.

    Raises:
        ValueError, TypeError: as :func:`pckh`; ValueError for a limit or a number of steps that is not positive.
    """
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    if pred.shape[1] != 16:
        raise ValueError(f"pred: expected the 16 joints of MPII, got shape {pred.shape}")
    limit = _checks.number("", "limit", limit, above=0)
    steps = _checks.integer("", "steps", steps, 1, MAX_STEPS)
    distances = normalised_distances(pred, gt, mask, norm_array(head_size, "head_size", len(pred)))
    just_above = np.nextafter(np.linspace(0, limit, steps + 1, dtype=np.float32), np.float32(np.inf))
    curve = _mean_accuracy(joint_accuracies(distances, just_above), mask)
    return float((curve[:-1] + curve[1:]).mean() / 2)
