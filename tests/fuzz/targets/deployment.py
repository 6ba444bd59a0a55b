"""Networks that leave the package: exported files, folders of the hub, detectors of other packages."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hgfast.checkpoint import save_checkpoint
from hgfast.codecs import NewellHeatmap
from hgfast.data import KeypointSet
from hgfast.export import export_network
from hgfast.predict import Detector, Predictor, torchvision_detector
from hgfast.train import Config
from hgfast.train.build import make_model
from hgfast.train.config import apply
from hgfast.train.state import checkpoint_meta
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Instance, Int, Number
from tests.fuzz.kinds import Path as PathKind
from tests.fuzz.targets.annotations import file_case
from tests.fuzz.targets.checkpoints import TINY
from tests.fuzz.targets.networks import trained
from tests.fuzz.targets.viz import Picture, picture
from tests.fuzz.tensor_kinds import Array

KEYPOINTS = KeypointSet("two", ("nose", "tail"))


@cache
def exported() -> None:
    """Imports what the first export does."""
    with tempfile.TemporaryDirectory() as folder:
        codec = NewellHeatmap((8, 8), (2, 2))
        export_network(trained("tiny"), Path(folder, "a.torchscript"), "torchscript", codec, keypoints=KEYPOINTS)


@target("export_network", 12, needs=[exported])
def export(draw: Draw) -> Case:
    """To TorchScript, which is written in a tenth of a second; tests/test_export.py runs the other forms."""
    path = draw.folder / "net.torchscript"
    arguments = {
        "model": Arg(trained("tiny", stacks=draw.one((1, 2))), Instance()),
        "path": Arg(path, PathKind()),
        "to": Arg("torchscript", Choice()),
        "codec": Arg(NewellHeatmap((8, 8), (2, 2)), Instance()),
        "keypoints": Arg(KEYPOINTS, Instance()),
        "decode": Arg(draw.chance(0.5), Flag()),
        "pixels": Arg(draw.chance(0.5), Flag()),
        "mean": Arg((1.0, 2.0, 3.0), Array((0,), finite=True)),
        "std": Arg((255.0, 250.0, 245.0), Array((0,), finite=True)),
    }
    return call(draw, export_network, arguments, lambda _: None if path.stat().st_size else "an empty file", bad=0.9)


class Boxes(nn.Module):
    """Finds the same boxes everywhere."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found

    def forward(self, images: list[torch.Tensor]) -> Any:
        return self.found


def _found(count: int, draw: Draw) -> list[dict[str, torch.Tensor]]:
    corner = torch.from_numpy(draw.array(count, 2, low=-5, high=20))
    boxes = torch.cat([corner, corner + 10], 1)
    return [{"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64), "scores": torch.rand(count)}]


@target("predict.Detector", 50)
def detector(draw: Draw) -> Case:
    arguments = {
        "model": Arg(Boxes(_found(2, draw)), Instance()),
        "label": Arg(draw.one((None, 1)), Int(optional=True)),
        "min_score": Arg(draw.float(0, 1), Number()),
        "most": Arg(draw.one((None, 1)), Int(1, optional=True)),
        "device": Arg(draw.one((None, "cpu")), Choice(optional=True)),
    }
    return call(draw, Detector, arguments)


@target("predict.Detector.detect", 60)
def detect(draw: Draw) -> Case:
    count = draw.one((0, 1, 3))
    made = Detector(Boxes(_found(count, draw)), min_score=0.0)
    image = np.ascontiguousarray(picture(draw))

    def check(result: Any) -> str | None:
        boxes, scores = result
        inside = (boxes >= 0).all() and (boxes <= [*image.shape[1::-1]] * 2).all()
        good = inside and len(boxes) == len(scores) <= count and (np.diff(scores) <= 0).all()
        return None if good else f"boxes {boxes.tolist()} in a picture of {image.shape}"

    return call(draw, made.detect, {"image": Arg(image, _Image())}, check)


class _Image:
    """A picture as an array."""

    def spoilers(self, value: Any, draw: Draw) -> list[Any]:
        return Picture().spoilers(value, draw)


def _settings() -> dict[str, Any]:
    return {"model": "hourglass52", "model_options": TINY, "input_size": [16, 16], "sigma": 1.0, "keypoints": "mpii"}


@cache
def _hub_folder() -> Path:
    """A folder with config.json and model.safetensors."""
    from hgfast.hub import PoseModel

    folder = Path(tempfile.mkdtemp(prefix="hgfast-fuzz-hub-"))
    model = PoseModel(settings=_settings())
    model.predictor()
    model.save_pretrained(folder)
    return folder


@cache
def _checkpoint() -> Path:
    """A file as training leaves it."""
    config, path = apply(Config(), _settings()), Path(tempfile.mkdtemp(prefix="hgfast-fuzz-hub-"), "best.pt")
    save_checkpoint(make_model(config), path, "hgfast", checkpoint_meta(config, {}))
    return path


@cache
def _pose_model() -> Any:
    """Imports what the first predictor does, too."""
    from hgfast.hub import PoseModel

    model = PoseModel(settings=_settings())
    model.predictor()
    return model


if find_spec("huggingface_hub") and find_spec("safetensors"):

    @target("hub.PoseModel", 30)
    def pose_model(draw: Draw) -> Case:
        from hgfast.hub import PoseModel

        arguments = {
            "settings": Arg(_settings(), Instance(), fine=("dict",)),
            "metrics": Arg({"PCKh": 50.0}, Instance(optional=True), fine=("dict",)),
        }
        return call(draw, PoseModel, arguments)

    @target("hub.PoseModel.from_checkpoint", 20, needs=[_checkpoint])
    def from_checkpoint(draw: Draw) -> Case:
        from hgfast.hub import PoseModel

        return call(draw, PoseModel.from_checkpoint, {"path": Arg(_checkpoint(), PathKind())})

    @target("hub.PoseModel.predictor", 30, needs=[_pose_model])
    def hub_predictor(draw: Draw) -> Case:
        arguments = {
            "padding": Arg(1.25, Number(above=0)),
            "batch_size": Arg(2, Int(1)),
            "flip_test": Arg(draw.chance(0.5), Flag()),
            "device": Arg("cpu", Choice(optional=True)),
        }
        check = lambda made: None if isinstance(made, Predictor) else f"a {type(made)}"  # noqa: E731
        return call(draw, _pose_model().predictor, arguments, check)

    @target("file.hub_config", 30, "file", needs=[_hub_folder])
    def hub_config(draw: Draw) -> Case:
        """config.json beside good weights: read, or refused with the file's or the setting's name."""
        return _folder_case(draw, "config.json", json.loads((_hub_folder() / "config.json").read_text()))

    @target("file.hub_weights", 30, "file", needs=[_hub_folder])
    def hub_weights(draw: Draw) -> Case:
        return _folder_case(draw, "model.safetensors", (_hub_folder() / "model.safetensors").read_bytes())


def _folder_case(draw: Draw, name: str, content: Any) -> Case:
    from hgfast.hub import PoseModel

    folder = draw.folder
    for file in _hub_folder().iterdir():
        shutil.copy(file, folder)
    write = _write_bytes if isinstance(content, bytes) else None
    case = file_case(draw, name, content, lambda path: PoseModel.from_pretrained(path.parent), write)
    if case.blame:  # settings of another network make the weights the wrong ones
        case.blame = ("config.json|model.safetensors",)
    return case


def _write_bytes(content: Any, path: Path) -> None:
    path.write_bytes(content if isinstance(content, bytes) else b"")


if find_spec("torchvision"):

    @target("predict.torchvision_detector", 10)
    def from_torchvision(draw: Draw) -> Case:
        """A name, or options, that are wrong; its own weights cannot be downloaded everywhere."""
        import torchvision

        path = draw.folder / "weights.pt"
        name = "ssdlite320_mobilenet_v3_large"
        torch.save(torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict(), path)
        arguments = {
            "name": Arg(name, Choice()),
            "weights": Arg(path, PathKind()),
            "min_score": Arg(0.5, Number()),
            "most": Arg(2, Int(1, optional=True)),
        }
        return call(draw, torchvision_detector, arguments, bad=0.9)
