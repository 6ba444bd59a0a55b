"""Detection networks of torchvision's kind, with a stand-in of random numbers, and the command that uses them."""

from __future__ import annotations

import csv
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hgfast.cli import main
from hgfast.data.video import VideoWriter
from hgfast.predict import Detector, detector, torchvision_detector
from tests.test_predict import picture
from tests.test_predict_cli import checkpoint  # noqa: F401 - a fixture


class Random(nn.Module):
    """Gives what torchvision's networks give, of random numbers, the same for the same picture."""

    def __init__(self, count: int = 40, num_classes: int = 3) -> None:
        super().__init__()
        self.count = count
        self.roi_heads = nn.Module()
        self.roi_heads.box_predictor = nn.Module()
        self.roi_heads.box_predictor.cls_score = nn.Linear(2, num_classes)
        self.seen: list[Tensor] = []

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert isinstance(images, list) and not self.training
        self.seen += images
        found = []
        for image in images:
            generator = torch.Generator().manual_seed(int(image.sum()))
            height, width = image.shape[1:]
            a, b = (torch.rand(self.count, 2, generator=generator) * 1.4 - 0.2 for _ in range(2))
            corners = torch.cat([a.minimum(b), a.maximum(b)], 1) * torch.tensor([width, height, width, height])
            labels = torch.randint(1, 3, (self.count,), generator=generator)
            scores = torch.rand(self.count, generator=generator)
            found.append({"boxes": corners, "labels": labels, "scores": scores})
        return found


def test_boxes_of_the_wanted_label_the_surest_first() -> None:
    model, image = Random(), picture(50, 60)
    boxes = Detector(model)(image)
    (found,) = model([model.seen[0]])
    wanted = (found["labels"] == 1) & (found["scores"] >= 0.5)
    assert boxes.dtype == np.float32 and 3 < len(boxes) <= int(wanted.sum())
    first = found["boxes"][wanted][found["scores"][wanted].argmax()]
    np.testing.assert_allclose(boxes[0], first.clamp(min=0).minimum(torch.tensor([300.0, 240, 300, 240])), rtol=1e-6)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (300, 240)).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(Detector(model, label=None, min_score=0)(image)) > 30
    np.testing.assert_array_equal(Detector(model, most=2)(image), boxes[:2])
    assert Detector(model).detect(image)[1][0] == found["scores"][wanted].max()
    assert Detector(model, min_score=1.5)(image).shape == (0, 4)


def test_images_are_red_green_blue_from_0_to_1() -> None:
    model = Random()
    image = np.zeros((5, 7, 3), np.uint8)
    image[..., 2] = 255
    Detector(model)(image)
    assert model.seen[0].shape == (3, 5, 7) and model.seen[0].mean(dim=(1, 2)).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([], "model must give a list of a dictionary of boxes, labels and scores"),
        ([{"boxes": torch.ones(1, 4)}], "model must give a list of a dictionary"),
        ([{"boxes": torch.ones(1, 5), "labels": torch.ones(1).long(), "scores": torch.ones(1)}], "boxes of the model"),
        ([{"boxes": torch.ones(1, 4), "labels": torch.ones(1), "scores": torch.ones(1)}], "labels of the model"),
        ([{"boxes": torch.ones(1, 4), "labels": torch.ones(1).long(), "scores": torch.ones(2)}], "scores of the model"),
    ],
)
def test_what_is_no_detection_network(result: Any, message: str) -> None:
    model = nn.Module()
    model.forward = lambda images: result  # type: ignore[method-assign]
    with pytest.raises((TypeError, ValueError), match=message):
        Detector(model)(picture(9, 9))


def test_bad_arguments() -> None:
    for options, message in (
        ({"model": 3}, "model must be"),
        ({"label": "person"}, "label must be an int"),
        ({"min_score": None}, "min_score must be"),
        ({"most": 0}, "most must be at least 1"),
        ({"device": "nowhere"}, "device"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"Detector: {message}"):
            Detector(**({"model": Random()} | options))
    with pytest.raises(ValueError, match=r"image must have shape \(H, W, 3\)"):
        Detector(Random())(np.zeros((4, 4), np.uint8))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """In torchvision's place; what its networks were asked for."""
    asked: list[dict[str, Any]] = []

    def get_model(name: str, num_classes: int = 3, **options: Any) -> nn.Module:
        asked.append({"name": name, **options})
        return Random(8, num_classes)

    models = types.SimpleNamespace(list_models=lambda module: ["random_rcnn"], get_model=get_model, detection=None)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(models=models))
    return asked


def test_networks_by_name_and_weights_of_ones_own(stand_in: list[dict[str, Any]], tmp_path: Path) -> None:
    assert torchvision_detector("random_rcnn", most=3).most == 3
    torch.save(Random(num_classes=7).state_dict(), tmp_path / "own.pth")
    own = torchvision_detector("random_rcnn", tmp_path / "own.pth")
    assert own.model.roi_heads.box_predictor.cls_score.out_features == 7
    assert stand_in[0]["weights"] == "DEFAULT" and stand_in[1]["weights"] is None is stand_in[1]["weights_backbone"]
    torch.save({"other": torch.ones(2)}, tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    for name, weights, message in (
        ("resnet50", None, "name must be one of random_rcnn; got 'resnet50'"),
        ("random_rcnn", tmp_path / "none.pth", "none.pth: no such checkpoint"),
        ("random_rcnn", tmp_path / "other.pth", "other.pth: is not for random_rcnn"),
        ("random_rcnn", tmp_path / "list.pth", "list.pth: holds no state dict of a detection network"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            torchvision_detector(name, weights)


def test_torchvision_must_be_there_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.12.1+cpu")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    fitting = r"pip install 'torchvision==0.27.\*' 'torch==2.12.1', from where this torch 2.12.1\+cpu came from"
    with pytest.raises(ImportError, match=rf"the detector needs torchvision \({fitting}\)"):
        torchvision_detector("random_rcnn")

    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(detector.importlib, "import_module", broken)
    with pytest.raises(ImportError, match=rf"does not fit \(operator torchvision::nms .*\): {fitting}"):
        torchvision_detector("random_rcnn")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for x in range(40, 60, 4):
            writer.write(picture(x, 60))
    return tmp_path / "clip.mp4"


def test_the_command_finds_tracks_and_tabulates(
    checkpoint: Path,  # noqa: F811
    clip: Path,
    stand_in: list[dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    words = ["predict", str(checkpoint), str(clip), str(tmp_path / "bad.png"), "--detector", "random_rcnn", "--quiet"]
    words += ["--output", str(tmp_path / "out"), "--no-draw", "--detector-score", "0.3", "--table", "csv"]
    assert main([*words, "--track", "oks", "--smooth"]) == 2
    printed = capsys.readouterr()
    assert "bad.png" in printed.err and f"in 1 inputs: {tmp_path}/out/*.json, *.csv" in printed.out
    frames = json.loads((tmp_path / "out" / "clip.json").read_text())
    numbers = [[person["track_id"] for person in frame["instances"]] for frame in frames]
    assert len(numbers) == 5 and all(len({*row}) == len(row) for row in numbers) and sum(map(len, numbers)) > 3
    with open(tmp_path / "out" / "clip.csv", newline="") as file:
        header, *rows = csv.reader(file)
    individuals, parts, coords, *values = rows
    assert header[0] == "scorer" and parts[1:4] == ["right_ankle"] * 3 and coords[1:4] == ["x", "y", "likelihood"]
    person = frames[0]["instances"][0]
    assert 0.3 <= person["bbox_score"] < 1 and person["bbox_score"] >= frames[0]["instances"][-1]["bbox_score"]
    column = individuals.index(f"individual{person['track_id']}")
    np.testing.assert_allclose([float(v) for v in values[0][column : column + 2]], person["keypoints"][0], atol=1e-3)


def test_pictures_share_a_table(checkpoint: Path, tmp_path: Path, stand_in: list[dict[str, Any]]) -> None:  # noqa: F811
    import cv2

    for name in "ba":
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture(50, 60))
    words = ["predict", str(checkpoint), str(tmp_path), "--output", str(tmp_path / "out"), "--quiet", "--no-draw"]
    assert main([*words, "--whole-picture", "--table", "csv"]) == 0
    rows = (tmp_path / "out" / "pictures.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["scorer", "bodyparts", "coords", "a.png", "b.png"]
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"a.json", "b.json", "pictures.csv", ".predicted-0.jsonl"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--detector", "random_rcnn", "--box", "1,2,3,4"], "--box and --detector: give one of the two"),
        (["--whole-picture", "--smooth"], "--smooth: needs --track"),
        (["--whole-picture", "--detector-weights", "a.pth"], "--detector-weights: needs --detector"),
        (["--detector", "resnet50"], "name must be one of random_rcnn"),
        (["--detector", "random_rcnn", "--detector-score", "nan"], "--detector-score must be finite"),
    ],
)
def test_words_that_do_not_fit(
    more: list[str],
    message: str,
    checkpoint: Path,  # noqa: F811
    clip: Path,
    stand_in: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["predict", str(checkpoint), str(clip), "--output", str(clip.parent / "out"), *more]) == 2
    assert message in capsys.readouterr().err and not (clip.parent / "out").exists()
