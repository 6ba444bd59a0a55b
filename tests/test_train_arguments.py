"""What the parts of training are given is checked, by messages that name the argument."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hgfast import ops
from hgfast.codecs import MSRAHeatmap
from hgfast.metrics import auc, coco_ap
from hgfast.train import Config, build
from hgfast.train.ema import AveragedModel
from hgfast.train.log import RunLog
from hgfast.train.parallel import World

MAPS, POINTS, SEEN = torch.ones(2, 3, 8, 8), torch.ones(2, 3, 2), torch.ones(2, 3)


def loss(**changes: Any) -> Any:
    arguments = {"stacks": [MAPS], "keypoints": POINTS, "visible": SEEN} | changes
    return MSRAHeatmap((32, 32), (8, 8), 2.0).loss(**arguments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build.make_model({}), "make_model: config must be a Config"),
        (lambda: build.make_codec(None), "make_codec: config must be a Config"),
        (lambda: build.make_dataset(3, "train"), "make_dataset: config must be a Config"),
        (lambda: build.make_dataset(Config(), "rest"), "make_dataset: part must be one of 'train', 'val'"),
        (lambda: build.make_predictor(3, None, None, "cpu"), "make_predictor: config must be a Config"),
        (lambda: build.check_beforehand(3), "check_beforehand: config must be a Config"),
        (lambda: build.choose_device(torch.ones(2)), "device must be a str or device"),
        (lambda: build.place(nn.Conv2d(1, 1, 1), torch.device("cpu")), "place: model must be a PoseNetwork"),
        (lambda: loss(stacks=MAPS), "loss: stacks must be a list"),
        (lambda: loss(stacks=[]), "loss: stacks must be a list"),
        (lambda: loss(stacks=[MAPS, MAPS[1:]]), r"loss: stacks\[1\] must have shape"),
        (lambda: loss(stacks=[MAPS[..., :0]]), r"loss: stacks\[0\] must have at least one pixel"),
        (lambda: loss(keypoints=[1.0]), "loss: keypoints must be a torch.Tensor"),
        (lambda: loss(stacks=[MAPS[..., 1:]]), r"loss: stacks\[0\] must have shape \(2, 3, 8, 8\) .* heatmap_size"),
        (lambda: loss(visible=SEEN[1:]), "loss: visible must have shape .* keypoints"),
        (lambda: loss(visible=SEEN[1:], keypoints=POINTS[1:]), r"loss: stacks\[0\] must have shape .* keypoints"),
        (lambda: loss(stacks=[MAPS.to("meta")]), r"loss: stacks\[0\] must be on keypoints' device cpu, got meta"),
        (lambda: ops.gaussian_heatmaps(POINTS, SEEN, (4, 4), 1e300), "gaussian_heatmaps: sigma must be at most"),
        (lambda: AveragedModel(3, 0.5), "AveragedModel: model must be a Module"),
        (lambda: AveragedModel(nn.Linear(1, 1), 1.0), "AveragedModel: decay must be less than 1"),
        (lambda: AveragedModel(nn.Linear(1, 1), 0.5).update(nn.Linear(1, 1), -1), "AveragedModel: step must be"),
        (lambda: AveragedModel(nn.Linear(1, 1), 0.5).update(nn.Linear(2, 1), 0), "AveragedModel: model must have"),
        (lambda: World(1, 1), "World: rank must be at most 0"),
        (lambda: World(size=0), "World: size must be at least 1"),
        (lambda: World.join(3), "World.join: device_type must be a str"),
        (lambda: RunLog(3), "RunLog: path must be a path"),
        (lambda: ops.explain({}), "explain: name must be a str"),
        (lambda: auc(POINTS, POINTS, SEEN, [[1.0], [2.0, 3.0]]), "^norm must be an array of numbers"),
        (lambda: auc(POINTS, POINTS, SEEN, torch.nested.nested_tensor([SEEN])), "^norm must be a dense tensor"),
        (lambda: coco_ap("a.json", [], []), "sigmas must have a number"),
    ],
)
def test_what_does_not_fit_is_named(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()


@pytest.mark.parametrize("row", [3, {"loss": "a"}, {"loss": True}, {1: 2.0}])
def test_a_row_of_the_log_holds_numbers_by_name(row: Any, tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.csv")
    with pytest.raises(TypeError, match=r"RunLog: row"):
        log.append(row)
    assert not log.path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("banana",), "device_type must be 'cpu' or 'cuda', got 'banana'"),
        (("cpu", timedelta(seconds=-1)), "patience must be positive, got -1 day"),
        (("cpu", timedelta()), "patience must be positive, got 0:00:00"),
    ],
)
def test_what_processes_cannot_join_by(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"World.join: {message}"):
        World.join(*arguments)


def test_a_variable_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="environment variable WORLD_SIZE must be a whole number, got 'two'"):
        World.join("cpu")
