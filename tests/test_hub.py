"""Networks in folders as huggingface_hub has them, and checkpoints in files of safetensors."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hgfast
from hgfast.checkpoint import CheckpointError, save_checkpoint
from hgfast.data import KeypointSet
from hgfast.train import preset
from hgfast.train.build import make_model
from hgfast.train.config import apply
from hgfast.train.state import checkpoint_meta
from tests.recipe import apply_recipe
from tests.small_models import small_model
from tests.test_predict import picture
from tests.test_train import SMALL

MICE = KeypointSet("mice", ("snout", "left_ear", "right_ear"), ((1, 2),))
BOX = [[10, 10, 90, 100]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hub") / "best.pt"
    changes = {"format": "coco", "keypoints": MICE.to_table(), "codec": "udp", "boxes": "picture", "monitor": "auto"}
    config = apply(preset("demo"), SMALL | changes | {"train_images": "/home/secret"})
    save_checkpoint(apply_recipe(make_model(config), 1), path, "hgfast", checkpoint_meta(config, {"RMSE": 3.5}))
    return path


def test_there_and_back_by_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    hgfast.hub.PoseModel.from_checkpoint(checkpoint).save_pretrained(tmp_path / "mice")
    assert {"config.json", "model.safetensors", "README.md"} <= {file.name for file in (tmp_path / "mice").iterdir()}
    text = (tmp_path / "mice" / "config.json").read_text()
    assert json.loads(text)["metrics"] == {"RMSE": 3.5} and "secret" not in text
    model = hgfast.hub.PoseModel.from_pretrained(tmp_path / "mice")
    assert model.trained_as.table == MICE and not model.training
    expected = hgfast.Predictor.from_checkpoint(checkpoint)
    found = model.predictor()
    assert found.codec.method == "dark_udp" and found.padding == expected.padding == 1
    for ours, theirs in zip(found(picture(50, 50), BOX), expected(picture(50, 50), BOX), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(images)[-1], model.network(images)[-1])


def test_settings_that_are_none_of_a_network(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    for settings, message in (
        ({"output": "/etc"}, "settings must be among model, .*; got 'output'"),
        ({"model": "alexnet"}, "model"),
        ([], "PoseModel: settings must be"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            hgfast.hub.PoseModel(settings=settings)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "not a JSON file"),
        ("config.json", b"[" * 100000, "not a JSON file"),
        ("config.json", b"[]", "must hold an object with the object 'settings', got list"),
        ("config.json", b'{"settings": {"input_size": 3}}', "input_size must be"),
        ("config.json", b'{"settings": {}, "metrics": 3}', "metrics must be a Mapping or NoneType, got int 3"),
        ("config.json", None, "no such file"),
        ("model.safetensors", b"{", "not a readable checkpoint"),
        ("model.safetensors", None, "no such checkpoint"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(
    name: str, content: bytes | None, message: str, checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    hgfast.hub.PoseModel.from_checkpoint(checkpoint).save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, OSError), match=rf"{name}: .*{message}"):
        hgfast.hub.PoseModel.from_pretrained(tmp_path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hgfast.hub", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", sys)
    with pytest.raises(ImportError, match=r"hgfast.hub needs huggingface_hub \(pip install .*\[hub\]"):
        importlib.import_module("hgfast.hub")


def test_checkpoints_of_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors, path = pytest.importorskip("safetensors.torch"), tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="a.safetensors: no such checkpoint"):
        hgfast.load_checkpoint(small_model("mmpose"), path)
    model, other = (apply_recipe(small_model("mmpose"), seed) for seed in (1, 2))
    safetensors.save_file({f"network.{name}": value for name, value in model.state_dict().items()}, path)
    assert hgfast.load_checkpoint(other, path).complete
    assert all(torch.equal(other.state_dict()[name], value) for name, value in model.state_dict().items())
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="a.safetensors: not a readable checkpoint"):
        hgfast.load_checkpoint(other, path)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"a.safetensors needs safetensors \(pip install .*\[hub\]"):
        hgfast.load_checkpoint(other, path)
