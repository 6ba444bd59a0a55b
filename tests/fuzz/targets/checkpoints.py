"""Files of weights: frozen networks, checkpoints, and the state of a training run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

import hgfast
from hgfast.checkpoint import convert_checkpoint, read_checkpoint, save_checkpoint
from hgfast.checkpoint.names import FORMATS
from hgfast.data.synthetic import write_set
from hgfast.train import Config, Trainer
from hgfast.train.config import apply
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Instance
from tests.fuzz.kinds import Path as PathKind
from tests.fuzz.targets.annotations import file_case
from tests.fuzz.targets.networks import UNIT, frozen, trained
from tests.small_models import FAMILIES


def _save(content: Any, path: Path) -> None:
    torch.save(content, path)


@target("file.frozen", 400, "file")
def frozen_file(draw: Draw) -> Case:
    """A damaged graph that is accepted is also run: kernels trust what has been checked."""
    family = draw.one(FAMILIES)
    good = draw.folder / "good.pt"
    frozen(family).save(good)
    content = torch.load(good, weights_only=True)

    def read(path: Path) -> Any:
        model = hgfast.FrozenModel.load(path)
        images = torch.randn(1, 3, UNIT[family], UNIT[family])
        before = images.clone()
        unit = model.graph.unit
        if UNIT[family] % unit == 0 and model.graph.slack < unit:
            model(images)
        if not torch.equal(images, before):
            raise AssertionError("the caller's images were changed")

    return file_case(draw, "frozen.pt", content, read, _save)


@target("file.checkpoint", 400, "file")
def checkpoint_file(draw: Draw) -> Case:
    """All of a checkpoint is loaded, or the network stays as it was."""
    family = draw.one(FAMILIES)
    model = copy.deepcopy(trained(family))
    content = draw.one(
        (
            {"meta": {"version": 1}, "state_dict": trained(family).state_dict()},
            {"state_dict": {f"module.{name}": value for name, value in trained(family).state_dict().items()}},
            dict(trained(family).state_dict()),
        )
    )

    def read(path: Path) -> Any:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        try:
            return hgfast.load_checkpoint(model, path)
        except (ValueError, OSError):
            same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
            if not same:
                raise AssertionError("refused, but some weights were changed") from None
            raise

    return file_case(draw, "checkpoint.pt", content, read, _save)


@target("file.convert", 150, "file")
def convert_file(draw: Draw) -> Case:
    """convert_checkpoint from a damaged file."""
    content = {"meta": {}, "state_dict": trained(draw.one(FAMILIES)).state_dict()}
    out = draw.folder / "out.pt"
    return file_case(draw, "checkpoint.pt", content, lambda path: convert_checkpoint(path, out, "hgfast"), _save)


@target("load_checkpoint", 120)
def load_checkpoint(draw: Draw) -> Case:
    family = draw.one(FAMILIES)
    path = draw.folder / "checkpoint.pt"
    save_checkpoint(trained(family), path)
    arguments = {
        "model": Arg(copy.deepcopy(trained(family)), Instance()),
        "path": Arg(path, PathKind()),
        "strict": Arg(draw.chance(0.5), Flag()),
        "check_hash": Arg(draw.chance(0.5), Flag()),
    }
    check = lambda report: None if report.complete else str(report)  # noqa: E731
    return call(draw, hgfast.load_checkpoint, arguments, check)


@target("checkpoint.save", 100)
def save(draw: Draw) -> Case:
    family = draw.one(FAMILIES)
    forms = ["hgfast", "princeton"] if family == "princeton" else [name for name in FORMATS if name != "princeton"]
    path = draw.folder / "out.pt"
    arguments = {
        "weights": Arg(trained(family), Instance()),
        "path": Arg(path, PathKind()),
        "form": Arg(draw.one(forms), Choice()),
        "meta": Arg(draw.one((None, {"a": 1})), Instance(optional=True), fine=("dict",)),
    }

    def check(_: Any) -> str | None:
        model = copy.deepcopy(trained(family))
        return None if hgfast.load_checkpoint(model, path).complete else "cannot be loaded again"

    return call(draw, save_checkpoint, arguments, check)


@target("checkpoint.convert", 80)
def convert(draw: Draw) -> Case:
    source = draw.folder / "in.pt"
    save_checkpoint(trained(draw.one(FAMILIES)), source)
    arguments = {
        "source": Arg(source, PathKind()),
        "target": Arg(draw.folder / "out.pt", PathKind()),
        "form": Arg("hgfast", Choice()),
        "check_hash": Arg(True, Flag()),
    }
    return call(draw, convert_checkpoint, arguments)


@target("checkpoint.read", 80)
def read(draw: Draw) -> Case:
    source = draw.folder / "in.pt"
    save_checkpoint(trained(draw.one(FAMILIES)), source)
    arguments = {"path": Arg(source, PathKind()), "check_hash": Arg(True, Flag())}
    return call(draw, read_checkpoint, arguments)


def small_run(folder: Path) -> Config:
    """Settings of a run of one epoch on two drawn pictures."""
    annotations, images = write_set(folder, 2, 0, "train")
    return apply(
        Config(),
        {
            "model": "hg1", "model_options": {"channels": 8, "stem_channels": [4, 4]}, "codec": "newell",
            "input_size": [64, 64], "sigma": 1.0, "epochs": 1, "batch_size": 2, "workers": 0, "flip_test": False,
            "train_annotations": str(annotations), "train_images": str(images), "val_annotations": str(annotations),
            "val_images": str(images), "output": str(folder / "run"), "device": "cpu", "ema": 0.5, "freeze": False,
        },
    )  # fmt: skip


_RUN: dict[str, Any] = {}


def finished_run() -> tuple[Config, Any]:
    """Settings and state of a run, made once in a process."""
    if not _RUN:
        import tempfile

        config = small_run(Path(tempfile.mkdtemp()))
        Trainer(config, quiet=True, say=lambda line: None).fit()
        _RUN["state"] = config, torch.load(Path(config.output) / "last.pt", weights_only=True)
    return _RUN["state"]


@target("file.state", 200, "file")
def state_file(draw: Draw) -> Case:
    """A run is resumed from its last.pt."""
    config, content = finished_run()

    def resume(path: Path) -> Any:
        Trainer(apply(config, {"output": str(path.parent)}), resume=True, quiet=True, say=lambda line: None)

    return file_case(draw, "last.pt", content, resume, _save)
