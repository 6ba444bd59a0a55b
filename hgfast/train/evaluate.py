"""Accuracy of a predictor on a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hgfast import _checks
from hgfast.data import EpochSampler, PoseDataset, make_loader
from hgfast.predict import Predictor
from hgfast.train.measures import measure, require_packages
from hgfast.train.parallel import World


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
        annotations: COCO's file, for its AP; "" measures against the data set's own persons.
        workers: loader processes.
        progress: wraps the batches.
        world: processes that share the work; each gets the whole result.

    Returns:
        for MPII the results of :func:`hgfast.metrics.pckh` and :func:`hgfast.metrics.pckh_auc`; for COCO AP and AR;
        faces NME; hands PCK, AUC and EPE; for keypoints of one's own see :func:`hgfast.train.measures.measure`.

    Raises:
        TypeError, ValueError: another kind of argument, or a predictor of other keypoints than the data set's.
        ImportError: AP without pycocotools.
        OSError: a picture or the annotations cannot be read.
    """
    _check_parts("evaluate", predictor, dataset, workers, progress, world)
    pixel_origin = _checks.integer("evaluate", "pixel_origin", pixel_origin, 0, 1)
    require_packages(dataset.table)
    if annotations != "":
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
    """Predict keypoints (N, K, 2) in picture pixels and scores (N, K) of a whole data set, in its order.

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


def all_finite(model: torch.nn.Module) -> bool:
    """Whether all parameters and statistics of a network are finite."""
    return all(bool(torch.isfinite(t).all()) for t in model.state_dict().values() if t.is_floating_point())
