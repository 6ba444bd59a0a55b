"""COCO's average precision by object keypoint similarity (OKS)."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR", "AR50", "AR75", "AR(M)", "AR(L)")


def oks(a: np.ndarray, b: np.ndarray, area: float, sigmas: np.ndarray) -> float:
    """Similarity of two persons' keypoints (K, 2), 0 to 1; ``area`` in square pixels."""
    squares = ((a - b) ** 2).sum(axis=1)
    return float(np.exp(-squares / (2 * area * (2 * sigmas) ** 2 + np.spacing(1))).mean())


def oks_nms(
    keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, threshold: float = 0.9
) -> list[int]:
    """Persons of one picture to keep, best first: those not too similar to a better one.

    Args:
        keypoints: (P, K, 2).
        scores: (P,).
        areas: (P,) of the boxes; of a pair their mean counts.
        sigmas: (K,).
        threshold: similarity above which the worse of two goes.
    """
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        near = (oks(keypoints[i], keypoints[j], (areas[i] + areas[j]) / 2, sigmas) > threshold for j in kept)
        if not any(near):
            kept.append(int(i))
    return kept


def coco_results(
    image_ids: np.ndarray,
    keypoints: np.ndarray,
    joint_scores: np.ndarray,
    box_scores: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
) -> list[dict[str, Any]]:
    """Entries of a COCO results file, scored and thinned out as MMPose does.

    A person's score is the box's times the mean of the joints' above 0.2; then :func:`oks_nms` in each picture.

    Args:
        image_ids: (N,) picture of each person.
        keypoints: (N, K, 2) pixels.
        joint_scores: (N, K).
        box_scores: (N,).
        areas: (N,) square pixels.
        sigmas: (K,).
    """
    good = joint_scores > 0.2
    mean = np.where(good, joint_scores, 0).sum(axis=1) / np.maximum(good.sum(axis=1), 1)
    scores = box_scores * mean
    by_image = defaultdict(list)
    for n, image in enumerate(image_ids):
        by_image[int(image)].append(n)
    results = []
    for image, members in by_image.items():
        part = np.array(members)
        for n in part[oks_nms(keypoints[part], scores[part], areas[part], sigmas)]:
            triples = np.concatenate([keypoints[n], joint_scores[n][:, None]], axis=1)
            entry = {"image_id": image, "category_id": 1, "score": float(scores[n])}
            results.append(entry | {"keypoints": triples.astype(float).ravel().tolist()})
    return results


def coco_ap(annotations: str | Path, results: list[dict[str, Any]], sigmas: np.ndarray) -> dict[str, float]:
    """Average precision and recall in percent (needs pycocotools), named as in MMPose.

    Args:
        annotations: the ground truth's JSON file.
        results: of :func:`coco_results`.
        sigmas: (K,).
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ImportError("COCO's AP needs pycocotools (pip install 'hgfast[train]')") from None
    if not results:
        return dict.fromkeys(NAMES, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        truth = COCO(str(annotations))
        run = COCOeval(truth, truth.loadRes(results), "keypoints")
        run.params.kpt_oks_sigmas = np.asarray(sigmas)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {name: 100 * float(value) for name, value in zip(NAMES, run.stats, strict=True)}
