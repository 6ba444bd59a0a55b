"""The parts of training: networks, codecs and data sets of a configuration, loss, log, averages, order of samples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch

from hgfast import data, metrics, models, ops
from hgfast.codecs import CODECS, affine_torch
from hgfast.train import Config, Trainer, build, evaluate
from hgfast.train.config import apply
from hgfast.train.ema import AveragedModel
from hgfast.train.log import RunLog, read_log
from hgfast.train.parallel import World
from tests.fuzz.cases import Arg, Case, Spoiler, call, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Instance, Int, Ints, Number, _ways
from tests.fuzz.kinds import Path as PathKind
from tests.fuzz.targets.checkpoints import TINY, finished_run
from tests.fuzz.targets.networks import networks, trained
from tests.fuzz.tensor_kinds import Array, Tensor


def settings(draw: Draw) -> Config:
    codec = draw.one(tuple(CODECS))
    return apply(Config(), {"codec": codec, "input_size": [32, 32], "sigma": 1.0, "model_options": TINY})


@target("train.make_model", 15)
def make_model(draw: Draw) -> Case:
    check = lambda model: None if isinstance(model, models.HourglassPose) else str(type(model))  # noqa: E731
    return call(draw, build.make_model, {"config": Arg(settings(draw), Instance())}, check)


@target("train.make_codec", 40)
def make_codec(draw: Draw) -> Case:
    check = lambda codec: None if codec.heatmap_size == (8, 8) else f"{codec.heatmap_size}"  # noqa: E731
    return call(draw, build.make_codec, {"config": Arg(settings(draw), Instance())}, check)


@target("train.make_dataset", 20, needs=[finished_run])
def make_dataset(draw: Draw) -> Case:
    arguments = {
        "config": Arg(finished_run()[0], Instance()),
        "part": Arg(draw.one(("train", "val")), Choice()),
    }
    return call(draw, build.make_dataset, arguments, lambda made: None if len(made) == 2 else f"{len(made)} persons")


@target("train.choose_device", 40)
def choose_device(draw: Draw) -> Case:
    return call(draw, build.choose_device, {"device": Arg(draw.one(("cpu", "auto")), Choice())})


@target("train.make_predictor", 15, needs=[networks])
def make_predictor(draw: Draw) -> Case:
    config = apply(settings(draw), {"freeze": False})
    arguments = {
        "config": Arg(config, Instance()),
        "model": Arg(trained("tiny"), Instance()),
        "codec": Arg(build.make_codec(config), Instance()),
        "device": Arg("cpu", Choice(optional=True)),
    }
    return call(draw, build.make_predictor, arguments)


class Row:
    """Numbers by name."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        ways = {"number": 3, "text": "abc", "list": [1.0], "None": None, "names": {1: 2.0}}
        members = {"member None": None, "member text": "a", "member list": [1], "member bool": True}
        ways |= {label: value | {"loss": member} for label, member in members.items()}
        return _ways(ways) + _ways({"NaN": value | {"loss": float("nan")}}, fine=("NaN",))


@target("train.RunLog", 40)
def run_log(draw: Draw) -> Case:
    path = draw.folder / "log.csv"
    if draw.chance(0.5):
        arguments = {"path": Arg(path, PathKind()), "first_epoch": Arg(draw.int(0, 3), Int(0))}
        return call(draw, RunLog, arguments)
    log = RunLog(path)
    log.append({"epoch": 0, "loss": 1.0})
    check = lambda _: None if len(read_log(path)) == 2 else "a row is missing"  # noqa: E731
    return call(draw, log.append, {"row": Arg({"epoch": 1, "loss": 0.5}, Row())}, check)


@target("train.AveragedModel", 20, needs=[networks])
def averaged(draw: Draw) -> Case:
    model = trained("tiny")
    if draw.chance(0.5):
        arguments = {"model": Arg(model, Instance()), "decay": Arg(draw.float(0.1, 0.9), Number(above=0))}
        arguments["decay"].fine = ("1e-320",)
        case = call(draw, AveragedModel, arguments)
        case.either = case.either and case.spoiled != "decay: 1e300"
        return case
    average = AveragedModel(model, 0.5)
    arguments = {"model": Arg(copy.deepcopy(model), Instance()), "step": Arg(draw.int(0, 9), Int(0))}
    return call(draw, average.update, arguments)


@target("train.World", 40)
def world(draw: Draw) -> Case:
    size = draw.int(1, 4)
    arguments = {
        "rank": Arg(draw.int(0, size - 1), Int(0)),
        "size": Arg(size, Int(1)),
        "local_rank": Arg(0, Int(0)),
    }
    return call(draw, World, arguments)


@target("train.World.join", 40)
def join(draw: Draw) -> Case:
    patience = draw.one((None, timedelta(seconds=5)))
    arguments = {"device_type": Arg("cpu", Choice()), "patience": Arg(patience, Instance(optional=True))}
    return call(draw, World.join, arguments, lambda world: None if world == World() else f"{world}")


@target("data.EpochSampler", 80)
def sampler(draw: Draw) -> Case:
    shares = draw.int(1, 3)
    arguments = {
        "count": Arg(draw.int(0, 9), Int(0)),
        "batch_size": Arg(draw.int(1, 4), Int(1)),
        "shuffle": Arg(draw.chance(0.5), Flag()),
        "seed": Arg(draw.int(0, 9), Int(0)),
        "rank": Arg(draw.int(0, shares - 1), Int(0)),
        "world": Arg(shares, Int(1)),
    }

    def check(made: Any) -> str | None:
        batches = list(made)
        wanted = -(-arguments["count"].value // shares)
        return None if sum(map(len, batches)) == wanted and len(batches) == len(made) else f"{batches}"

    return call(draw, data.EpochSampler, arguments, check)


@target("data.make_loader", 20, needs=[finished_run])
def loader(draw: Draw) -> Case:
    made = build.make_dataset(finished_run()[0], "val")
    arguments = {
        "dataset": Arg(made, Instance()),
        "sampler": Arg(data.EpochSampler(len(made), 2), Instance()),
        "workers": Arg(0, Int(0), fine=("numpy int",)),
    }
    return call(draw, data.make_loader, arguments, lambda batches: None if len(list(batches)) == 1 else "no batch")


@target("train.evaluate", 15, needs=[finished_run])
def evaluated(draw: Draw) -> Case:
    config, _ = finished_run()
    predictor = build.make_predictor(config, build.make_model(config).eval(), build.make_codec(config), "cpu")
    arguments = {
        "predictor": Arg(predictor, Instance()),
        "dataset": Arg(build.make_dataset(config, "val"), Instance()),
        "pixel_origin": Arg(draw.int(0, 1), Int(0, 1)),
        "workers": Arg(0, Int(0)),
    }
    return call(draw, evaluate, arguments, lambda found: None if "PCKh" in found else f"{found}")


@target("train.Trainer", 20, needs=[finished_run])
def trainer(draw: Draw) -> Case:
    config = apply(finished_run()[0], {"output": str(draw.folder / "run")})
    arguments = {
        "config": Arg(config, Instance()),
        "resume": Arg(draw.chance(0.5), Flag()),
        "quiet": Arg(True, Flag()),
        "say": Arg(_silent, Instance(), fine=("class",)),
    }
    return call(draw, Trainer, arguments, lambda run: None if (run.folder / "config.toml").is_file() else "no settings")


def _silent(_: str) -> None:
    """Says nothing."""


@target("metrics.coco_ap", 40)
def coco_ap(draw: Draw) -> Case:
    truth = draw.folder / "truth.json"
    truth.write_text('{"images": [], "annotations": [], "categories": []}', encoding="utf-8")
    sigmas = data.COCO.sigmas
    arguments = {
        "annotations": Arg(truth, PathKind()),
        "results": Arg([], Instance(), fine=("list",)),
        "sigmas": Arg(draw.numpy.uniform(0.1, 1, len(sigmas)), Array((), {0: 1}, finite=True)),
    }
    return call(draw, metrics.coco_ap, arguments, errors=(TypeError, ValueError, OSError))


@target("ops.switches", 40)
def switches(draw: Draw) -> Case:
    """set_winograd and explain."""
    if draw.chance(0.5):
        return call(draw, ops.set_winograd, {"enabled": Arg(True, Flag(), fine=())})
    x = torch.ones(1, 2, 4, 4)
    good = draw.chance(0.3)
    name = "max_pool" if good else draw.one(("nothing", "", None, 3, [1], {"a": 1}))
    return Case(
        lambda: ops.explain(name, x), blame=None if good else ("explain",), spoiled="" if good else f"name: {name}",
        errors=(KeyError, TypeError, ValueError), inputs=[x],
    )  # fmt: skip


@target("data.keypoint_set", 40)
def keypoint_set(draw: Draw) -> Case:
    return call(draw, data.keypoint_set, {"name": Arg(draw.one(list(data.KEYPOINT_SETS)), Choice())})


@target("models.HourglassPose", 20)
def hourglass_pose(draw: Draw) -> Case:
    """The constructors of both networks."""
    makes: tuple[tuple[Callable[..., Any], dict[str, Arg]], ...] = (
        (
            models.HourglassPose,
            {
                "num_keypoints": Arg(3, Int(1)),
                "num_stacks": Arg(1, Int(1)),
                "downsample_times": Arg(1, Int(1)),
                "stage_channels": Arg([4, 4], Ints(None, 1)),
                "stage_blocks": Arg([1, 1], Ints(None, 0)),
                "feat_channel": Arg(4, Int(1)),
                "stem_channels": Arg([4, 4], Ints(2, 1)),
                "implementation": Arg("fused", Choice()),
            },
        ),
        (
            models.StackedHourglass,
            {
                "num_stacks": Arg(1, Int(1)),
                "channels": Arg(4, Int(2)),
                "num_keypoints": Arg(3, Int(1)),
                "increase": Arg(0, Int(2 - 4)),
                "stem_channels": Arg((4, 4), Ints(2, 1)),
                "implementation": Arg("reference", Choice()),
            },
        ),
    )
    make, arguments = draw.one(makes)
    for argument in arguments.values():
        argument.fine = ("2^31",)
    return call(draw, make, arguments)


@target("codecs.affine_torch.fix_aspect_ratios", 40)
def fix_aspect_ratios(draw: Draw) -> Case:
    sizes = Tensor((1,), rank=False, alone=True, dtypes=(torch.int64, torch.uint8, torch.int8))
    arguments = {
        "sizes": Arg(draw.tensor(draw.one((0, 1, 3)), 2, plain=True) * 10, sizes),
        "aspect": Arg(draw.float(0.5, 2), Number(above=0)),
    }
    return call(draw, affine_torch.fix_aspect_ratios, arguments)
