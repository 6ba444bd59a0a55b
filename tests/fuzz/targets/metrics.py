"""Measures of accuracy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from hgfast import metrics
from hgfast.metrics.coco import oks, oks_nms
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Int, Number
from tests.fuzz.tensor_kinds import Array

POINTS, SEEN = Array((0, 1, 2)), Array((0, 1))


def persons(draw: Draw, k: int, near: float = 10.0) -> dict[str, Arg]:
    """pred, gt and visible of N persons, N from 0."""
    n = draw.one((0, 1, 2, 7))
    gt = draw.array(n, k, 2)
    pred = gt + draw.numpy.normal(0, near, gt.shape)
    visible = draw.numpy.integers(0, 2, (n, k))
    return {
        "pred": Arg(pred, POINTS),
        "gt": Arg(gt, POINTS),
        "visible": Arg(visible.astype(draw.one((bool, int, float))), SEEN),
    }


def lengths(draw: Draw, n: int) -> Arg:
    two = draw.chance(0.3)
    norm = draw.array(*((n, 2) if two else (n,)), low=0.5)
    return Arg(norm, Array((0, 1) if two else (0,), low=0))


def _wanted_pck(values: dict[str, Any], threshold: float) -> float:
    norm = values["norm"].astype(float)
    norm = norm if norm.ndim == 2 else np.repeat(norm[:, None], 2, axis=1)
    distance = np.linalg.norm((values["pred"] - values["gt"]) / norm[:, None], axis=2)
    seen = values["visible"] > 0
    hits = [(distance[seen[:, k], k] < threshold).mean() for k in range(seen.shape[1]) if seen[:, k].any()]
    return 100 * float(np.mean(hits)) if hits else float("nan")


@target("metrics.pck", 200)
def pck(draw: Draw) -> Case:
    arguments = persons(draw, draw.one((1, 5)))
    arguments |= {
        "norm": lengths(draw, len(arguments["pred"].value)),
        "threshold": Arg(draw.float(0.05, 1), Number()),
    }
    values = {name: argument.value for name, argument in arguments.items()}

    def check(result: Any) -> str | None:
        good = np.isclose(result["PCK"], _wanted_pck(values, values["threshold"]), atol=1e-3, equal_nan=True)
        return None if good or not len(values["pred"]) else f"PCK {result['PCK']}"

    return call(draw, metrics.pck, arguments, check)


@target("metrics.auc")
def auc(draw: Draw) -> Case:
    arguments = persons(draw, draw.one((1, 5)))
    n = len(arguments["pred"].value)
    arguments["norm"] = (
        lengths(draw, n) if draw.chance(0.5) else Arg(30.0, Number(above=0), fine=("array", "tensor", "list"))
    )
    arguments["steps"] = Arg(draw.one((1, 5, 20)), Int(1))

    def check(result: Any) -> str | None:
        return None if np.isnan(result) or 0 <= result <= 1 else f"AUC {result}"

    return call(draw, metrics.auc, arguments, check)


@target("metrics.epe")
def epe(draw: Draw) -> Case:
    arguments = persons(draw, draw.one((1, 5)))
    pred, gt, visible = (argument.value for argument in arguments.values())

    def check(result: Any) -> str | None:
        seen = visible > 0
        wanted = np.linalg.norm(pred - gt, axis=2)[seen].mean() if seen.any() else None
        return None if wanted is None or np.isclose(result, wanted, rtol=1e-4) else f"EPE {result}, expected {wanted}"

    return call(draw, metrics.epe, arguments, check)


@target("metrics.pixel_errors")
def pixel_errors(draw: Draw) -> Case:
    arguments = persons(draw, draw.one((1, 5)))
    pred, gt, visible = (argument.value for argument in arguments.values())

    def check(result: Any) -> str | None:
        found = np.linalg.norm(pred - gt, axis=2)[visible > 0]
        wanted = (found.mean(), np.median(found)) if found.size else (np.nan, np.nan)
        good = np.allclose((result["mean"], result["median"]), wanted, rtol=1e-4, atol=1e-4, equal_nan=True)
        return None if good else f"errors {result['mean']} and {result['median']}, expected {wanted}"

    return call(draw, metrics.pixel_errors, arguments, check)


@target("metrics.oks_ap", 50)
def oks_ap(draw: Draw) -> Case:
    joints = draw.one((1, 5))
    arguments = persons(draw, joints)
    count = len(arguments["pred"].value)
    arguments |= {
        "images": Arg(draw.numpy.integers(1, 4, count), Array((0,))),
        "scores": Arg(draw.array(count, low=0.1, high=1), Array((0,))),
        "areas": Arg(draw.array(count, low=100, high=20_000), Array((0,), low=0)),
        "sigmas": Arg(draw.array(joints, low=0.02, high=0.1), Array((0,), low=0)),
    }

    def check(result: Any) -> str | None:
        good = len(result) == 10 and all(value == -100 or 0 <= value <= 100 for value in result.values())
        return None if good else f"measures {result}"

    return call(draw, metrics.oks_ap, arguments, check)


@target("metrics.nme")
def nme(draw: Draw) -> Case:
    arguments = persons(draw, draw.one((1, 5)))
    arguments["norm"] = lengths(draw, len(arguments["pred"].value))
    return call(draw, metrics.nme, arguments, _not_negative)


def _not_negative(result: float) -> str | None:
    return None if np.isnan(result) or result >= 0 else f"result {result}"


@target("metrics.heatmap_pck")
def heatmap_pck(draw: Draw) -> Case:
    n, k, h, w = draw.maps(empty=0.0)
    output, wanted = (draw.array(n, k, h, w, low=-1, high=1) for _ in range(2))
    arguments = {
        "output": Arg(output, Array((0, 1, 2, 3))),
        "target": Arg(wanted, Array((0, 1, 2, 3))),
        "mask": Arg(draw.numpy.integers(0, 2, (n, k)), SEEN),
        "threshold": Arg(0.05, Number()),
    }
    if draw.chance(0.3):
        norm = lengths(draw, n)
        arguments["norm"] = Arg(norm.value, dataclasses.replace(norm.kind, optional=True))  # type: ignore[type-var]
    return call(draw, metrics.heatmap_pck, arguments)


@target("metrics.pckh", 200)
def pckh(draw: Draw) -> Case:
    arguments = persons(draw, 16)
    n = len(arguments["pred"].value)
    arguments |= {
        "head_size": Arg(draw.array(n, low=1), Array((0,), low=0)),
        "thresholds": Arg(draw.one(([0.5], (0.5, 0.1), [0.2, 0.5, 0.7])), Array((), {0: 1})),
        "unlabelled": Arg(draw.one(("negative", "skip")), Choice()),
    }

    def check(result: Any) -> str | None:
        low = -100 if arguments["unlabelled"].value == "negative" else 0
        bad = {name: value for name, value in result.items() if not (np.isnan(value) or low <= value <= 100)}
        return f"{bad}" if bad else None

    return call(draw, metrics.pckh, arguments, check)


@target("metrics.pckh_auc")
def pckh_auc(draw: Draw) -> Case:
    arguments = persons(draw, 16)
    n = len(arguments["pred"].value)
    arguments |= {
        "head_size": Arg(draw.array(n, low=1), Array((0,), low=0)),
        "limit": Arg(draw.float(0.1, 1), Number(above=0)),
        "steps": Arg(draw.one((1, 7, 50)), Int(1)),
    }
    return call(draw, metrics.pckh_auc, arguments, _not_negative)


def _sigmas(draw: Draw, k: int) -> Arg:
    return Arg(draw.array(k, low=0.02, high=0.2), Array((0,)))


@target("metrics.oks")
def similarity(draw: Draw) -> Case:
    k = draw.one((1, 17))
    a = draw.array(k, 2)
    arguments = {
        "a": Arg(a, Array((0, 1))),
        "b": Arg(a + draw.numpy.normal(0, 3, a.shape), Array((0, 1))),
        "area": Arg(draw.float(1, 1e4), Number(above=0)),
        "sigmas": _sigmas(draw, k),
    }
    return call(draw, oks, arguments, lambda result: None if 0 <= result <= 1 else f"{result}")


@target("metrics.oks_nms")
def suppression(draw: Draw) -> Case:
    p, k = draw.one((0, 1, 5)), draw.one((1, 17))
    arguments = {
        "keypoints": Arg(draw.array(p, k, 2), Array((0, 1, 2))),
        "scores": Arg(draw.array(p, high=1), Array((0,))),
        "areas": Arg(draw.array(p, low=1, high=1e4), Array((0,))),
        "sigmas": _sigmas(draw, k),
        "threshold": Arg(draw.float(0, 1), Number()),
    }

    def check(kept: Any) -> str | None:
        return None if len(set(kept)) == len(kept) <= p and bool(kept) == bool(p) else f"{kept}"

    return call(draw, oks_nms, arguments, check)


@target("metrics.coco_results")
def coco_results(draw: Draw) -> Case:
    n, k = draw.one((0, 1, 5)), draw.one((1, 17))
    arguments = {
        "image_ids": Arg(draw.numpy.integers(0, 3, n), Array((0,))),
        "keypoints": Arg(draw.array(n, k, 2), Array((0, 1, 2))),
        "joint_scores": Arg(draw.array(n, k, high=1), Array((0, 1))),
        "box_scores": Arg(draw.array(n, high=1), Array((0,))),
        "areas": Arg(draw.array(n, low=1, high=1e4), Array((0,))),
        "sigmas": _sigmas(draw, k),
    }
    return call(draw, metrics.coco_results, arguments)
