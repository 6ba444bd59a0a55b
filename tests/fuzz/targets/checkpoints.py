"""Files of weights: frozen networks, checkpoints, and the state of a training run."""

from __future__ import annotations

import copy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

import hgfast
from hgfast.checkpoint import convert_checkpoint, read_checkpoint, save_checkpoint
from hgfast.data.synthetic import write_set
from hgfast.train import Config, Trainer
from hgfast.train.config import apply
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Instance
from tests.fuzz.kinds import Path as PathKind
from tests.fuzz.targets.annotations import file_case
from tests.fuzz.targets.networks import NETWORKS, UNIT, frozen, networks, trained


def _save(content: Any, path: Path) -> None:
    torch.save(content, path)


@target("file.frozen", 60, "file", needs=[networks])
def frozen_file(draw: Draw) -> Case:
    """A damaged graph that is accepted is also run: kernels trust what has been checked."""
    family = draw.one(NETWORKS)
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


@cache
def frozen_sum() -> hgfast.FrozenModel:
    """A frozen network of two inputs in a container."""

    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(2, 4, 1)

        def forward(self, x: torch.Tensor, more: dict[str, torch.Tensor], scale: int = 1) -> torch.Tensor:
            return torch.relu(self.a(x) + self.b(more["y"]))

    return hgfast.freeze(Sum(), example=(torch.randn(2, 3, 6, 8), {"y": torch.randn(2, 2, 6, 8)}))


@target("file.frozen of arguments", 60, "file")
def frozen_arguments_file(draw: Draw) -> Case:
    """A damaged file of a network of several inputs; it takes other arguments, perhaps, but none that it cannot."""
    good = draw.folder / "good.pt"
    frozen_sum().save(good)
    content = torch.load(good, weights_only=True)

    def read(path: Path) -> Any:
        model = hgfast.FrozenModel.load(path)
        for n in (1, 2):
            try:
                model(torch.randn(n, 3, 6, 8), {"y": torch.randn(n, 2, 6, 8)})
            except (TypeError, ValueError) as error:  # of arguments that the file says it takes
                if not str(error):
                    raise AssertionError("refused without a word") from error

    return file_case(draw, "frozen.pt", content, read, _save)


@target("file.checkpoint", 40, "file", needs=[networks])
def checkpoint_file(draw: Draw) -> Case:
    """All of a checkpoint is loaded, or the network stays as it was."""
    family = draw.one(NETWORKS)
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


@target("file.convert", 20, "file", needs=[networks])
def convert_file(draw: Draw) -> Case:
    """convert_checkpoint from a damaged file."""
    content = {"meta": {}, "state_dict": trained(draw.one(NETWORKS)).state_dict()}
    out = draw.folder / "out.pt"
    return file_case(draw, "checkpoint.pt", content, lambda path: convert_checkpoint(path, out, "hgfast"), _save)


@target("load_checkpoint", 25, needs=[networks])
def load_checkpoint(draw: Draw) -> Case:
    family = draw.one(NETWORKS)
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


@target("checkpoint.save", 25, needs=[networks])
def save(draw: Draw) -> Case:
    family = draw.one(NETWORKS)
    forms = ["hgfast", "princeton"] if family == "princeton" else ["hgfast"]  # MMPose's are for its own widths
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


@target("checkpoint.convert", 20, needs=[networks])
def convert(draw: Draw) -> Case:
    source = draw.folder / "in.pt"
    save_checkpoint(trained(draw.one(NETWORKS)), source)
    arguments = {
        "source": Arg(source, PathKind()),
        "target": Arg(draw.folder / "out.pt", PathKind()),
        "form": Arg("hgfast", Choice()),
        "check_hash": Arg(True, Flag()),
    }
    return call(draw, convert_checkpoint, arguments)


@target("checkpoint.read", 20, needs=[networks])
def read(draw: Draw) -> Case:
    source = draw.folder / "in.pt"
    save_checkpoint(trained(draw.one(NETWORKS)), source)
    arguments = {"path": Arg(source, PathKind()), "check_hash": Arg(True, Flag())}
    return call(draw, read_checkpoint, arguments)


TINY = {
    "downsample_times": 1, "stage_channels": [4, 4], "stage_blocks": [1, 1], "feat_channel": 4, "stem_channels": [4, 4],
}  # fmt: skip


def small_run(folder: Path) -> Config:
    """Settings of a run of one epoch on two drawn pictures."""
    annotations, images = write_set(folder, 2, 0, "train")
    return apply(
        Config(),
        {
            "model": "hourglass52", "model_options": TINY, "input_size": [32, 32], "sigma": 1.0, "epochs": 1,
            "batch_size": 2, "workers": 0, "flip_test": False,
            "train_annotations": str(annotations), "train_images": str(images), "val_annotations": str(annotations),
            "val_images": str(images), "output": str(folder / "run"), "device": "cpu", "ema": 0.5, "freeze": False,
        },
    )  # fmt: skip


@cache
def finished_run() -> tuple[Config, Any]:
    """Settings and state of a run."""
    config = small_run(Path(tempfile.mkdtemp()))
    Trainer(config, quiet=True, say=lambda line: None).fit()
    return config, torch.load(Path(config.output) / "last.pt", weights_only=True)


@target("file.state", 20, "file", needs=[finished_run])
def state_file(draw: Draw) -> Case:
    """A run is resumed from its last.pt."""
    config, content = finished_run()

    def resume(path: Path) -> Any:
        Trainer(apply(config, {"output": str(path.parent)}), resume=True, quiet=True, say=lambda line: None)

    return file_case(draw, "last.pt", content, resume, _save)
