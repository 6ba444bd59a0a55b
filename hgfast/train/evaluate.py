"""Accuracy of a predictor on a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hgfast import _checks
from hgfast._extras import require
from hgfast.codecs.affine import fix_aspect_ratio
from hgfast.data import EpochSampler, Person, PoseDataset, make_loader
from hgfast.metrics import auc, coco_ap, coco_results, epe, nme, pck, pckh, pckh_auc
from hgfast.metrics.coco import NAMES
from hgfast.metrics.mpii import GROUPS
from hgfast.predict import Predictor
from hgfast.train.parallel import World

# what `measure` gives for each set of keypoints
MEASURES: dict[str, tuple[str, ...]] = {
    "mpii": (*GROUPS, "PCKh", "PCKh@0.1", "AUC"),
    "coco": NAMES,
    "face": ("NME",),
    "hand": ("PCK", "AUC", "EPE"),
}


def evaluate(
    predictor: Predictor,
    dataset: PoseDataset,
    *,
    pixel_origin: int = 0,
    annotations: str | Path = "",
    workers: int = 0,
    progress: Callable[[Any], Any] = iter,
    world: World = World(),  # noqa: B008 - immutable
) -> dict[str, float]:
    """Predicts every person of a data set and measures, in the data set's own measure.

    Args:
        predictor: of the same keypoints.
        dataset: without augmentation.
        pixel_origin: number of the first pixel in the data set's keypoints, see :func:`hgfast.data.load_mpii`;
            predictions, which count from 0, are moved there.
        annotations: COCO's file, for its AP.
        workers: loader processes.
        progress: wraps the batches.
        world: processes that share the work; each gets the whole result.

    Returns:
        for MPII the results of :func:`hgfast.metrics.pckh` and :func:`hgfast.metrics.pckh_auc`; for COCO AP and AR;
        faces NME; hands PCK, AUC and EPE.

    Raises:
        TypeError, ValueError: another kind of argument, or a predictor of other keypoints than the data set's.
        ImportError: COCO's AP without pycocotools.
        OSError: a picture or the annotations cannot be read.
    """
    _check_parts("evaluate", predictor, dataset, workers, progress, world)
    pixel_origin = _checks.integer("evaluate", "pixel_origin", pixel_origin, 0, 1)
    if dataset.table.name == "coco":
        require("pycocotools.cocoeval", "COCO's AP")
        annotations = _checks.path("evaluate", "annotations", annotations)
    keypoints, scores = predict_dataset(predictor, dataset, workers, progress, world)
    return measure(dataset, keypoints + np.float32(pixel_origin), scores, annotations)


def predict_dataset(
    predictor: Predictor,
    dataset: PoseDataset,
    workers: int = 0,
    progress: Callable[[Any], Any] = iter,
    world: World = World(),  # noqa: B008 - immutable
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) in picture pixels and scores (N, K) of all persons of a data set, in its order.

    Arguments and errors as of :func:`evaluate`.
    """
    _check_parts("predict_dataset", predictor, dataset, workers, progress, world)
    count = dataset.table.count
    found = torch.zeros(len(dataset), count, 4, device=predictor.device)  # x, y, score, times predicted
    sampler = EpochSampler(len(dataset), predictor.batch_size, rank=world.rank, world=world.size)
    for batch in progress(make_loader(dataset, sampler, workers)):
        points, values = predictor.predict_crops(batch["image"], batch["inverse"])
        numbers = batch["number"].to(predictor.device)
        found[numbers] = torch.cat([points, values[..., None], torch.ones_like(values)[..., None]], dim=2)
    found = world.total(found).cpu()
    found /= found[..., 3:]
    return found[..., :2].numpy(), found[..., 2].numpy()


def _check_parts(where: str, predictor: Any, dataset: Any, workers: Any, progress: Any, world: Any) -> None:
    _checks.instance(where, "predictor", predictor, Predictor)
    _checks.instance(where, "dataset", dataset, PoseDataset)
    _checks.integer(where, "workers", workers, 0, 1024)
    _checks.function(where, "progress", progress)
    _checks.instance(where, "world", world, World)
    mine, wanted = predictor.table, dataset.table
    if mine.count != wanted.count:
        raise ValueError(
            f"{where}: predictor finds {mine.count} keypoints ({mine.name}), dataset has {wanted.count} ({wanted.name})"
        )


def measure(
    dataset: PoseDataset, keypoints: np.ndarray, scores: np.ndarray, annotations: str | Path = ""
) -> dict[str, float]:
    """The data set's measures of predictions (N, K, 2), which count pixels as its annotations do, and scores (N, K).

    Raises:
        TypeError, ValueError: predictions or scores of other shapes, for COCO also not finite.
    """
    _checks.instance("", "dataset", dataset, PoseDataset)
    shape, finite = (len(dataset), dataset.table.count), dataset.table.name == "coco"
    keypoints = _checks.array("", "keypoints", keypoints, (*shape, 2), finite=finite)
    scores = _checks.array("", "scores", scores, shape, finite=finite)
    persons, name = dataset.persons, dataset.table.name
    if name == "coco":
        return _average_precision(dataset, keypoints, scores, annotations)
    truth = np.stack([person.keypoints for person in persons])
    visible = np.stack([person.visible for person in persons])
    if name == "mpii":
        head_size = np.array([person.head_size for person in persons], np.float32)
        area = pckh_auc(keypoints, truth, visible, head_size)
        return pckh(keypoints, truth, visible, head_size, unlabelled="skip") | {"AUC": area}
    if name == "face":
        return {"NME": nme(keypoints, truth, visible, _eye_distance(truth))}
    size = np.array([_longer_side(person) for person in persons], np.float32)
    return {
        "PCK": pck(keypoints, truth, visible, size, 0.2)["PCK"],
        "AUC": auc(keypoints, truth, visible),
        "EPE": epe(keypoints, truth, visible),
    }


def _average_precision(
    dataset: PoseDataset, keypoints: np.ndarray, scores: np.ndarray, annotations: str | Path
) -> dict[str, float]:
    return coco_ap(annotations, coco_entries(dataset, keypoints, scores), np.array(dataset.table.sigmas))


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


def _longer_side(person: Person) -> float:
    return float(person.size.max())


def _eye_distance(truth: np.ndarray) -> np.ndarray:
    """Distance of the outer corners of the eyes, (N,)."""
    return np.linalg.norm(truth[:, 36] - truth[:, 45], axis=1)


def all_finite(model: torch.nn.Module) -> bool:
    """Whether all parameters and statistics of a network are finite."""
    return all(bool(torch.isfinite(t).all()) for t in model.state_dict().values() if t.is_floating_point())
