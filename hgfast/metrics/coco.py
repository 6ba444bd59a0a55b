"""COCO's average precision by object keypoint similarity (OKS)."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast._extras import require
from hgfast.data.coco_file import read_coco
from hgfast.data.fields import number_array, whole
from hgfast.metrics._arrays import keypoint_arrays

OKS_NAMES = ("AP", "AP50", "AP75", "AR")
NAMES = ("AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR", "AR50", "AR75", "AR(M)", "AR(L)")


def oks(a: np.ndarray, b: np.ndarray, area: float, sigmas: np.ndarray) -> float:
    """Similarity of two persons' keypoints, 0 to 1.

    Args:
        a: (K, 2) points.
        b: (K, 2) points.
        area: square pixels.
        sigmas: (K,) standard deviations of the joints, fractions of the object's size.

    Raises:
        TypeError, ValueError: arguments that are not finite numbers of these shapes, or not positive ones.
    """
    a = _checks.array("", "a", a, (None, 2), finite=True)
    b = _checks.array("", "b", b, a.shape, finite=True, why="as a")
    area = _checks.number("", "area", area, above=0)
    return float(_similarities(a, b[None], np.array([area]), _sigmas(sigmas, len(a)))[0])


def _similarities(a: np.ndarray, others: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """OKS (P,) of a (K, 2) with others (P, K, 2), in the order of operations of MMPose."""
    squares = ((others - a) ** 2).sum(axis=2)
    errors = squares / (2 * sigmas) ** 2 / (areas[:, None] + np.spacing(1)) / 2
    return np.exp(-errors).sum(axis=1) / max(len(sigmas), 1)


def oks_nms(
    keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, threshold: float = 0.9
) -> list[int]:
    """Choose the persons of a picture to keep, best first: not too similar to a better one; of equals the last.

    Args:
        keypoints: (P, K, 2).
        scores: (P,).
        areas: (P,) of the boxes; of a pair their mean counts.
        sigmas: (K,).
        threshold: similarity above which the worse of two goes; compared in float32.

    Raises:
        TypeError, ValueError: arguments that are not finite numbers of these shapes, negative areas.
    """
    keypoints = _checks.array("", "keypoints", keypoints, (None, None, 2), finite=True)
    persons, joints, _ = keypoints.shape
    scores = _checks.array("", "scores", scores, (persons,), finite=True, why="as keypoints")
    threshold = _checks.number("", "threshold", threshold)
    return _kept(keypoints, scores, _areas(areas, persons), _sigmas(sigmas, joints), threshold)


def _kept(keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, limit: float) -> list[int]:
    left, kept = np.argsort(scores, kind="stable")[::-1], []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        alike = _similarities(keypoints[best], keypoints[left], (areas[best] + areas[left]) / 2, sigmas)
        left = left[alike.astype(np.float32) <= np.float32(limit)]
    return kept


def coco_results(
    image_ids: np.ndarray,
    keypoints: np.ndarray,
    joint_scores: np.ndarray,
    box_scores: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
    boxes: np.ndarray | None = None,
    categories: np.ndarray | None = None,
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
        boxes: (N, 4) x, y, width and height to be written as ``bbox``, which pycocotools takes the size of a person
            from; without, it takes the joints' extent.
        categories: (N,) number of each person's category; without, 1.

    Raises:
        TypeError, ValueError: arguments that are not finite numbers of these shapes, negative areas.
    """
    keypoints = _checks.array("", "keypoints", keypoints, (None, None, 2), finite=True)
    count, joints, _ = keypoints.shape
    images = _checks.integers("", "image_ids", image_ids, None, -_checks.INT64_MAX)
    if len(images) != count:
        raise ValueError(f"image_ids must have {count} entries (as keypoints), got {len(images)}")
    joint_scores = _checks.array("", "joint_scores", joint_scores, (count, joints), finite=True, why="as keypoints")
    box_scores = _checks.array("", "box_scores", box_scores, (count,), finite=True, why="as keypoints")
    areas, sigmas = _areas(areas, count), _sigmas(sigmas, joints)
    kinds = [1] * count if categories is None else _checks.integers("", "categories", categories, count)
    more = [{}] * count if boxes is None else [{"bbox": box} for box in _boxes(boxes, count)]
    scores = box_scores * _mean_above(joint_scores, 0.2)
    by_image = defaultdict(list)
    for n, image in enumerate(images):
        by_image[image].append(n)
    results = []
    for image, members in by_image.items():
        part = np.array(members)
        for n in part[_kept(keypoints[part], scores[part], areas[part], sigmas, 0.9)]:
            triples = np.concatenate([keypoints[n], joint_scores[n][:, None]], axis=1)
            entry = {"image_id": image, "category_id": kinds[n], "score": float(scores[n])}
            results.append(entry | {"keypoints": triples.astype(float).ravel().tolist()} | more[n])
    return results


def _mean_above(scores: np.ndarray, least: float) -> np.ndarray:
    """Mean (N,) of each row's scores above a number, added up one by one in the scores' precision; 0 without any."""
    good = scores > least
    rows = np.cumsum(np.where(good, scores, 0), axis=1, dtype=scores.dtype)
    total = rows[:, -1] if scores.shape[1] else np.zeros(len(scores), scores.dtype)
    return total / np.maximum(good.sum(axis=1), 1).astype(scores.dtype)


def coco_ap(annotations: str | Path, results: list[dict[str, Any]], sigmas: np.ndarray) -> dict[str, float]:
    """Average precision and recall in percent (needs pycocotools), named as in MMPose.

    Whoever has keypoints counts, whatever the category of annotation or result.

    Args:
        annotations: the ground truth's JSON file; what may be missing there is filled as by
            :func:`hgfast.data.load_coco`.
        results: of :func:`coco_results`.
        sigmas: (K,).

    Returns:
        the ten measures; -100 where the truth has no person (of medium or large size), pycocotools' -1, and 0 without
        any result.

    Raises:
        FileNotFoundError, AnnotationError: the file of annotations.
        TypeError, ValueError: ``results`` or ``sigmas``; the message names the entry and its field.
        ImportError: pycocotools is not installed.
    """
    require("pycocotools.cocoeval", "AP by OKS")
    sigmas = _sigmas(sigmas)
    if not len(sigmas):
        raise ValueError("sigmas must have a number for each joint, got none")
    file = read_coco(_checks.path("", "annotations", annotations))
    if not isinstance(results, (list, tuple)):
        raise TypeError(f"results must be a list of entries, got {_checks.describe(results)}")
    entries = [_result(entry, f"results[{n}]", len(sigmas)) for n, entry in enumerate(results)]
    for n, entry in enumerate(entries):
        if entry["image_id"] not in file.pictures:
            raise ValueError(f"results[{n}]: field 'image_id' names no picture of {annotations}: {entry['image_id']}")
    if not entries:
        return dict.fromkeys(NAMES, 0.0)
    if not all("bbox" in entry for entry in entries):
        entries = [{name: value for name, value in entry.items() if name != "bbox"} for entry in entries]
    return _evaluated(file.truth(len(sigmas)), entries, sigmas)


def oks_ap(
    images: np.ndarray,
    pred: np.ndarray,
    scores: np.ndarray,
    gt: np.ndarray,
    visible: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
) -> dict[str, float]:
    """Average precision and recall by OKS where each of N objects has a prediction (needs pycocotools).

    Args:
        images: (N,) number of each object's picture.
        pred: (N, K, 2) predicted points, finite.
        scores: (N,) confidence of each prediction.
        gt: (N, K, 2) true points.
        visible: (N, K), > 0 where the joint is labelled.
        areas: (N,) square pixels, the scale of the OKS.
        sigmas: (K,).

    Returns:
        the ten measures of :func:`coco_ap`; -100 where no object (of that size) has a labelled joint.

    Raises:
        TypeError, ValueError: arguments that are not finite numbers of these shapes.
        ImportError: pycocotools is not installed.
    """
    require("pycocotools.cocoeval", "AP by OKS")
    pred = _checks.array("", "pred", pred, (None, None, 2), finite=True)
    count, joints, _ = pred.shape
    scores = _checks.array("", "scores", scores, (count,), finite=True, why="as pred")
    numbers = _checks.integers("", "images", images, count, -_checks.INT64_MAX)
    pred, gt, mask = keypoint_arrays(pred, gt, visible)
    areas, sigmas = _areas(areas, count), _sigmas(sigmas, joints)
    if not count:
        return dict.fromkeys(NAMES, -100.0)
    points = np.where(mask[..., None], gt, 0).astype(float)
    common = [{"image_id": image, "category_id": 1} for image in numbers]
    truth = [
        {"id": n + 1, "iscrowd": 0, "area": float(areas[n]), "num_keypoints": int(mask[n].sum()), "bbox": [0.0] * 4}
        | {"keypoints": np.c_[points[n], mask[n]].ravel().tolist()} | common[n]
        for n in range(count)
    ]  # fmt: skip
    found = [
        {"keypoints": np.c_[pred[n].astype(float), np.ones(joints)].ravel().tolist(), "score": float(scores[n])}
        | common[n]
        for n in range(count)
    ]
    dataset = {
        "images": [{"id": image} for image in dict.fromkeys(numbers)],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": truth,
    }
    return _evaluated(dataset, found, sigmas)


def _evaluated(dataset: dict[str, Any], entries: list[dict[str, Any]], sigmas: np.ndarray) -> dict[str, float]:
    """COCO's ten measures in percent of results against a ground truth in COCO's form."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        truth.dataset = dataset
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(entries), "keypoints")
        run.params.kpt_oks_sigmas = sigmas
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {name: 100 * float(value) for name, value in zip(NAMES, run.stats, strict=True)}


def _result(entry: Any, where: str, joints: int) -> dict[str, Any]:
    """Return an entry of a results file as pycocotools takes it; category 1 as in the truth."""
    checked = {
        "keypoints": number_array(entry, "keypoints", (3 * joints,), where, np.float64).tolist(),
        "image_id": whole(entry, "image_id", where),
        "category_id": 1,
        "score": float(number_array(entry, "score", (), where, np.float64)),
    }
    if entry.get("bbox") is not None:
        checked["bbox"] = number_array(entry, "bbox", (4,), where, np.float64).tolist()
    return checked


def _sigmas(value: Any, count: int | None = None) -> np.ndarray:
    sigmas = _checks.array("", "sigmas", value, (count,), finite=True, why="as the joints of keypoints, a and b")
    if not (sigmas > 0).all():
        raise ValueError(f"sigmas must be positive, got {sigmas.min()}")
    return sigmas


def _areas(value: Any, count: int) -> np.ndarray:
    areas = _checks.array("", "areas", value, (count,), finite=True, why="as keypoints")
    if not (areas >= 0).all():
        raise ValueError(f"areas must not be negative, got {areas.min()}")
    return areas


def _boxes(value: Any, count: int) -> list[list[float]]:
    boxes: list[list[float]] = (
        _checks.array("", "boxes", value, (count, 4), finite=True, why="as keypoints").astype(float).tolist()
    )
    return boxes
