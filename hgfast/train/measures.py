"""What is measured for which keypoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast._extras import require
from hgfast.codecs.affine import fix_aspect_ratio
from hgfast.data import Person, PoseDataset
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.keypoints import known_name
from hgfast.metrics import (
    auc,
    coco_ap,
    coco_results,
    epe,
    nme,
    oks_ap,
    pck,
    pckh,
    pckh_auc,
    pixel_errors,
)
from hgfast.metrics.coco import NAMES, OKS_NAMES
from hgfast.metrics.mpii import GROUPS

_FRACTIONS = (0.05, 0.1, 0.2)  # of the length that PCK is measured in
# what `measure` gives for each set of keypoints that is known
MEASURES: dict[str, tuple[str, ...]] = {
    "mpii": (*GROUPS, "PCKh", "PCKh@0.1", "AUC"),
    "coco": NAMES,
    "face": ("NME",),
    "hand": ("PCK", "AUC", "EPE"),
}
OWN_MEASURES = ("RMSE", "median", *(f"PCK@{fraction:g}" for fraction in _FRACTIONS), *OKS_NAMES)
_DECIDING = {"mpii": "PCKh", "coco": "AP", "face": "NME", "hand": "AUC"}


def measures_of(table: KeypointSet) -> tuple[str, ...]:
    """Return the names of what :func:`measure` gives for these keypoints."""
    return MEASURES.get(known_name(table), OWN_MEASURES)


def deciding_measure(table: KeypointSet) -> str:
    """Return the measure that usually decides about the best checkpoint."""
    return _DECIDING.get(known_name(table), "RMSE")


def require_packages(table: KeypointSet) -> None:
    """Raise ImportError where AP is among the measures and pycocotools is missing, to be asked before the work."""
    if "AP" in measures_of(table):
        require("pycocotools.cocoeval", "AP by OKS")


def measure(
    dataset: PoseDataset, keypoints: np.ndarray, scores: np.ndarray, annotations: str | Path = ""
) -> dict[str, float]:
    """Compute the measures of predictions (N, K, 2), in pixels as the data set counts them, and scores (N, K).

    For COCO's keypoints AP and AR against the truth in ``annotations``; without, against the data set's persons.

    For keypoints of one's own: ``RMSE`` and ``median``, mean and median distance in pixels of the pictures over all
    labelled points (the mean is what DeepLabCut calls so); ``PCK@0.05``, ``PCK@0.1`` and ``PCK@0.2`` at these fractions
    of the table's ``unit``, or of the longer side of the annotated box (of the points' extent where there is none);
    OKS-``AP``, ``AP50``, ``AP75`` and ``AR``. All but the first two are in percent.

    Raises:
        TypeError, ValueError: predictions or scores of other shapes, for AP also not finite.
    """
    _checks.instance("", "dataset", dataset, PoseDataset)
    name = known_name(dataset.table)
    shape, finite = (len(dataset), dataset.table.count), name not in ("mpii", "face", "hand")
    keypoints = _checks.array("", "keypoints", keypoints, (*shape, 2), finite=finite)
    scores = _checks.array("", "scores", scores, shape, finite=finite)
    if name == "coco" and annotations != "":
        entries = coco_entries(dataset, keypoints, scores)
        return coco_ap(annotations, entries, np.array(dataset.table.sigmas))
    truth = np.stack([person.keypoints for person in dataset.persons])
    visible = np.stack([person.visible for person in dataset.persons])
    if name in _BY_POINTS:
        return _BY_POINTS[name](dataset.persons, keypoints, truth, visible)
    precision = _precision(dataset, keypoints, scores, truth, visible)
    if name == "coco":
        return precision
    return _errors(dataset, keypoints, truth, visible) | {measure: precision[measure] for measure in OKS_NAMES}


def _mpii(persons: list[Person], found: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> dict[str, float]:
    head_size = np.array([person.head_size for person in persons], np.float32)
    area = pckh_auc(found, truth, visible, head_size)
    return pckh(found, truth, visible, head_size, unlabelled="skip") | {"AUC": area}


def _face(persons: list[Person], found: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> dict[str, float]:
    outer_corners_of_the_eyes = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=1)
    return {"NME": nme(found, truth, visible, outer_corners_of_the_eyes)}


def _hand(persons: list[Person], found: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> dict[str, float]:
    size = np.array([person.size.max() for person in persons], np.float32)
    return {
        "PCK": pck(found, truth, visible, size, 0.2)["PCK"],
        "AUC": auc(found, truth, visible),
        "EPE": epe(found, truth, visible),
    }


_BY_POINTS: dict[str, Callable[..., dict[str, float]]] = {"mpii": _mpii, "face": _face, "hand": _hand}


def _errors(dataset: PoseDataset, found: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> dict[str, float]:
    errors = pixel_errors(found, truth, visible)
    lengths = np.array([_length(person, dataset.table) for person in dataset.persons], np.float32)
    result = {"RMSE": errors["mean"], "median": errors["median"]}
    for fraction in _FRACTIONS:
        result[f"PCK@{fraction:g}"] = pck(found, truth, visible, lengths, fraction)["PCK"]
    return result


def _precision(
    dataset: PoseDataset, found: np.ndarray, scores: np.ndarray, truth: np.ndarray, visible: np.ndarray
) -> dict[str, float]:
    """COCO's measures with the data set's own persons as the truth."""
    persons, pictures = dataset.persons, dict[Path, int]()
    images = np.array([pictures.setdefault(person.image, len(pictures)) for person in persons])
    confidence = scores.mean(axis=1) * np.array([person.box_score for person in persons])
    areas = np.array([person.area for person in persons])
    return oks_ap(images, found, confidence, truth, visible, areas, np.array(dataset.table.sigmas))


def _length(person: Person, table: KeypointSet) -> float:
    """Return what PCK is measured in for one person; 0 where it is not known, who then does not count."""
    if table.unit is None:
        return float(person.size.max()) if person.extent is None else person.extent
    if not person.visible[list(table.unit)].all():
        return 0.0
    first, second = person.keypoints[list(table.unit)]
    return float(np.linalg.norm(first - second))


def coco_entries(dataset: PoseDataset, keypoints: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """Entries of a COCO results file for predictions (N, K, 2) and scores (N, K) of a data set's persons."""
    order = sorted(range(len(dataset)), key=lambda n: dataset.persons[n].ident)  # which of equals comes first
    persons = [dataset.persons[n] for n in order]
    sizes = np.array([person.size for person in persons], np.float32)
    corners = np.array([person.center for person in persons], np.float32) - sizes / 2
    width, height = dataset.input_size
    crops = fix_aspect_ratio(sizes * np.float32(dataset.padding), width / height)  # their area is what MMPose takes
    return coco_results(
        np.array([person.ident[0] for person in persons]),
        keypoints[order],
        scores[order],
        np.array([person.box_score for person in persons], np.float32),
        crops.prod(axis=1),
        np.array(dataset.table.sigmas),
        np.concatenate([corners, sizes], axis=1),
        np.array([person.category for person in persons]),
    )
