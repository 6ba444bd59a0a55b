"""From pictures to keypoints, and results as files."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hgfast import results
from hgfast.codecs import NewellHeatmap
from hgfast.data import MPII, Person, PoseDataset
from hgfast.predict import Predictor, Tracker
from tests.fuzz.cases import Arg, Case, Spoiler, call, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Instance, Int, Number, Text
from tests.fuzz.kinds import Path as PathKind
from tests.fuzz.targets.modules import randomised
from tests.fuzz.targets.viz import Picture, picture
from tests.fuzz.tensor_kinds import Array, Tensor
from tests.small_models import small_model

K = MPII.count


@cache
def network() -> torch.nn.Module:
    return randomised(small_model("princeton", num_keypoints=K, num_stacks=1)).eval()


@cache
def predictor(flip_test: bool) -> Predictor:
    return Predictor(network(), NewellHeatmap((64, 64), (16, 16)), flip_test=flip_test, batch_size=2)


@target("predict.Tracker", 60)
def tracker(draw: Draw) -> Case:
    settings: dict[str, Any] = {
        "measure": Arg(draw.one(("oks", "iou")), Choice()),
        "least": Arg(draw.float(0, 1), Number(low=0, high=1)),
        "patience": Arg(draw.one((0, 3)), Int(0)),
        "rate": Arg(draw.float(1, 60), Number(above=0)),
        "smooth": Arg(draw.chance(0.5), Flag()),
    }
    return call(draw, lambda **given: Tracker(MPII, **given), settings)


@target("predict.Tracker.update", 60)
def update(draw: Draw) -> Case:
    count, frames = draw.one((0, 1, 4)), Tracker(MPII, draw.one(("oks", "iou")), smooth=draw.chance(0.5))
    corner = draw.array(count, 2, low=0, high=500)
    boxes, points = np.hstack([corner, corner + 50]), draw.array(count, K, 2, low=0, high=500)
    frames.update(boxes, points)
    arguments = {
        "boxes": Arg(boxes, Array((0, 1), finite=True)),
        "keypoints": Arg(points, Array((0, 1, 2), finite=True)),
    }

    def check(result: Any) -> str | None:
        good = result[0].tolist() == list(range(1, count + 1)) and np.allclose(result[1], points, rtol=1e-5, atol=1e-3)
        return None if good else f"numbers {result[0]} for the same individuals again"

    return call(draw, frames.update, arguments, check)


@target("predict.Predictor", 60)
def init(draw: Draw) -> Case:
    arguments = {
        "model": Arg(network(), Instance()),
        "codec": Arg(NewellHeatmap((64, 64), (16, 16)), Instance()),
        "keypoints": Arg(MPII, Instance()),
        "device": Arg("cpu", Choice(optional=True)),
        "flip_test": Arg(draw.chance(0.5), Flag()),
        "shift_heatmap": Arg(draw.one((None, True)), Flag(optional=True)),
        "batch_size": Arg(2, Int(1)),
        "padding": Arg(1.25, Number(above=0)),
        "mean": Arg((0.0, 0.0, 0.0), Array((0,), finite=True)),
        "std": Arg((255.0, 255.0, 255.0), Array((0,), finite=True)),
        "amp": Arg(draw.one(("off", "bf16")), Choice()),
        "freeze": Arg(draw.chance(0.3), Flag()),
    }
    return call(draw, Predictor, arguments)


class Image:
    """A picture as an array or a path."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        return [way for way in Picture().spoilers(value, draw) if way.label not in ("path", "text", "None")]


def boxes(draw: Draw, p: int) -> np.ndarray:
    corner = draw.array(p, 2, low=-5, high=30)
    return np.concatenate([corner, corner + draw.array(p, 2, low=1, high=40)], 1)


def _persons(p: int) -> Any:
    def check(found: Any) -> str | None:
        keypoints, scores = found
        if keypoints.shape != (p, K, 2) or scores.shape != (p, K):
            return f"shapes {keypoints.shape} {scores.shape} of {p} persons"
        return None if np.isfinite(keypoints).all() else "keypoints that are not finite"

    return check


@target("predict.call", 120)
def predict(draw: Draw) -> Case:
    p = draw.one((0, 1, 2, 3))
    image = np.ascontiguousarray(picture(draw))
    arguments = {"images": Arg(image, Image())}
    if draw.chance(0.7):
        whole = draw.chance(0.2)
        kind = Array((1,), finite=True, optional=True)
        arguments["boxes"] = Arg(None if whole else boxes(draw, p), kind, fine=("empty in 1",) if p == 0 else ())
        p = 1 if whole else p
        if p == 0:
            arguments["boxes"].fine = ("empty in 1", "larger in 1", "smaller in 1", "one more dimension")
    else:
        p = 1
    return call(draw, predictor(draw.chance(0.5)), arguments, _persons(p))


@target("predict.many", 80)
def predict_many(draw: Draw) -> Case:
    """A list of pictures, one of which may be wrong."""
    images = [np.ascontiguousarray(picture(draw)) for _ in range(draw.one((1, 3)))]
    at = draw.int(0, len(images) - 1)

    def run(image: Any) -> Any:
        return predictor(False)([*images[:at], image, *images[at + 1 :]])

    case = call(draw, run, {"image": Arg(images[at], Image())})
    case.blame = case.blame and (f"images[{at}]",)
    return case


@target("predict.predict_crops", 80)
def predict_crops(draw: Draw) -> Case:
    n = draw.one((1, 2))
    crops = torch.randint(0, 256, (n, 64, 64, 3), dtype=torch.uint8)
    arguments = {
        "crops": Arg(crops, Tensor((0, 1, 2, 3), dtypes=(torch.uint8,))),
        "inverse": Arg(torch.eye(3)[:2].expand(n, 2, 3), Tensor((0, 1, 2))),
    }
    arguments["crops"].kind = _Crops()
    return call(draw, predictor(False).predict_crops, arguments)


class _Crops:
    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        """Of uint8: floating crops are as wrong as others."""
        ways = Tensor((0, 1, 2, 3), dtypes=(torch.uint8,)).spoilers(value, draw)
        left_out = ("parameter", "NaN", "inf", "huge")
        return [way for way in ways if way.label not in left_out] + [Spoiler("float", lambda: value.float())]


@target("predict.heatmaps", 80)
def heatmaps(draw: Draw) -> Case:
    images = draw.tensor(draw.one((1, 2)), 3, 64, 64)
    return call(draw, predictor(True).heatmaps, {"images": Arg(images, Tensor((1, 2, 3)), fine=("torch.float64",))})


@target("results.instances", 100)
def instances(draw: Draw) -> Case:
    p, k = draw.one((0, 1, 3)), draw.one((1, K))
    arguments = {
        "boxes": Arg(boxes(draw, p), Array((0, 1))),
        "keypoints": Arg(draw.array(p, k, 2), Array((0, 1, 2))),
        "scores": Arg(draw.array(p, k, high=1), Array((0, 1))),
    }
    return call(draw, results.instances, arguments, lambda found: None if len(json.dumps(found)) else "nothing")


@target("results.write_results", 120)
def write_results(draw: Draw) -> Case:
    n = draw.one((1, 3))
    persons = [
        Person(
            image=Path(f"{i}.jpg"), center=np.float32([20, 20]), size=np.float32([30, 40]), ident=(i, i),
            keypoints=draw.array(K, 2).astype(np.float32), visible=np.ones(K, np.float32),
        )
        for i in range(n)
    ]  # fmt: skip
    dataset = PoseDataset(persons, MPII, (64, 64), 1.25)
    path = draw.folder / draw.one(("out.csv", "out.json", "out.mat"))
    arguments = {
        "path": Arg(path, PathKind()),
        "dataset": Arg(dataset, Instance()),
        "keypoints": Arg(draw.array(n, K, 2), Array((0, 1, 2))),
        "scores": Arg(draw.array(n, K, high=1), Array((0, 1))),
        "metrics": Arg({"PCKh": 50.0}, Instance(), fine=("dict",)),
    }
    return call(draw, results.write_results, arguments, lambda _: None if path.stat().st_size else "an empty file")


@target("results.check_results_path", 60)
def check_results_path(draw: Draw) -> Case:
    arguments = {
        "path": Arg(draw.one(("a.csv", "a.json", "a.mat")), PathKind()),
        "keypoint_set": Arg("mpii", Text()),
    }
    return call(draw, results.check_results_path, arguments)
