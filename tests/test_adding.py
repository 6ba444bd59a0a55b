"""docs/adding.md is tried: toys that are added as it says work everywhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast.codecs import CODECS, HeatmapCodec
from hgfast.data import COCO, Person
from hgfast.data.formats import FORMATS, Format, Source
from hgfast.models import MODELS
from hgfast.predict import Predictor
from hgfast.train import preset
from hgfast.train.build import make_codec, make_dataset
from hgfast.train.config import apply
from hgfast.train.parallel import World
from hgfast.train.step import TrainingStep
from tests.tolerances import relative_error


class Toy(nn.Module):
    """A network of one block of its own, with a map of a quarter of the image's size."""

    def __init__(self, num_keypoints: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.norm, self.conv = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, num_keypoints, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        return [self.head(x + self.conv(torch.relu(self.norm(x))))]


class ToyCodec(HeatmapCodec):
    """Targets about the keypoint itself, decoded by the maximum alone; UDP's crop, and no shift of mirrored maps."""

    kind, method, udp, shift = "unbiased", "argmax", True, False  # type: ignore[assignment]


def test_a_network_of_a_new_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "toy", Toy)  # type: ignore[arg-type]
    model, images = hgfast.models.build("toy"), torch.randn(2, 3, 32, 24)
    with torch.no_grad():
        expected = model.eval()(images)[0]
        assert relative_error(hgfast.freeze(model)(images)[0], expected) < 1e-5
    fused = hgfast.fuse(model)
    assert len(fused.fusion.left) == 0 and relative_error(fused(images)[0], expected) < 1e-5


def test_a_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "toy", ToyCodec)
    config = apply(preset("demo"), {"codec": "toy", "input_size": [32, 24], "sigma": 1.5})
    codec = make_codec(config)
    assert isinstance(codec, ToyCodec) and codec.heatmap_size == (8, 6)
    points = torch.tensor([[[8.0, 12.0], [20.0, 4.0]]])
    maps, weights = codec.encode(points, torch.ones(1, 2))
    found, scores = codec.decode(maps)
    assert torch.equal(found, points) and torch.equal(weights, torch.ones(1, 2)) and scores.min() > 0.99
    assert codec.loss([maps], points, torch.ones(1, 2)) < 1e-12
    assert codec.decode_flip(maps, maps, [1, 0])[0].isfinite().all()
    find = Predictor(Toy(len(COCO.names)), codec, COCO)
    assert find(np.zeros((50, 60, 3), np.uint8), "picture").keypoints.shape == (1, 17, 2) and not find.shift_heatmap
    step = TrainingStep(config, hgfast.models.build("hg1", num_keypoints=2), torch.device("cpu"), World())
    assert isinstance(step.codec, ToyCodec)


def test_a_data_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file of lines: the picture's name, then x and y of each keypoint."""

    def read(source: Source) -> list[Person]:
        persons = []
        for line in Path(source.annotations).read_text().splitlines():
            name, *numbers = line.split()
            points = np.array(numbers, float).reshape(-1, 2)
            center, size = np.array([30.0, 25.0]), np.array([60.0, 50.0])
            persons.append(Person(Path(source.images) / name, center, size, points, np.ones(len(points))))
        return persons

    monkeypatch.setitem(FORMATS, "toy", Format(read, lambda annotations: COCO, ("given",), COCO))
    cv2.imwrite(str(tmp_path / "a.png"), np.full((50, 60, 3), 200, np.uint8))
    (tmp_path / "toy.txt").write_text("a.png " + " ".join(["20"] * 34))
    data = {"format": "toy", "val_annotations": str(tmp_path / "toy.txt"), "val_images": str(tmp_path)}
    dataset = make_dataset(apply(preset("demo"), data | {"keypoints": "coco"}), "val")
    assert len(dataset) == 1 and dataset.persons[0].keypoints.shape == (17, 2)
