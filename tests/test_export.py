"""hgfast.export: files for other runtimes, which must give what the network gives, with and without the decoder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hgfast.export as export
from hgfast import FrozenModel, fuse, models
from hgfast.checkpoint import save_checkpoint
from hgfast.cli import main
from hgfast.cli.options.export import FORMS as OPTIONS
from hgfast.codecs import HeatmapCodec, MSRAHeatmap, NewellHeatmap, UDPHeatmap
from hgfast.data import MPII, KeypointSet
from hgfast.export.forms import FORMS, Form
from hgfast.train import preset
from hgfast.train.build import make_model
from hgfast.train.config import apply
from hgfast.train.state import checkpoint_meta
from tests.foreign_models import foreign_model
from tests.recipe import apply_recipe
from tests.test_train import SMALL

SIZES = (64, 64), (16, 16)
POINTS = KeypointSet("five", tuple("abcde"), ((0, 1),))
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(9))

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Tiny(nn.Module):
    """One convolution of stride 4; it gives a tensor, not a list."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 5, stride=4, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images)


def write(folder: Path, form: str, codec: HeatmapCodec, **options: Any) -> tuple[nn.Module, export.ExportReport]:
    model = apply_recipe(Tiny(), 1)
    return model, export.export_network(model, folder / "net", form, codec, keypoints=POINTS, **options)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_what_the_network_gives(form: str, tmp_path: Path) -> None:
    """By the reader that users of the form have, on images of 0..255, keypoints with steps below a pixel."""
    for package in FORMS[form].packages:
        pytest.importorskip(package)
    model = apply_recipe(models.HourglassPose(5, 1, 1, (8, 6), (1, 1), 12, (4, 8)), 1).eval()
    codec, normalisation = MSRAHeatmap(*SIZES, 2.0), {"mean": (100, 110, 120), "std": (50, 60, 70)}
    path, options = tmp_path / "net", {"keypoints": POINTS, "decode": True, "pixels": True, **normalisation}
    report = export.export_network(model, path, form, codec, **options)
    assert report.differences.values < 1e-5 and report.differences.near > 0.97
    assert str(report).startswith(f"{path}: {FORMS[form].title}, images (N, 3, 64, 64) to keypoints, scores\n")
    with torch.no_grad():
        points, scores = codec.decode(model(IMAGES)[-1])
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in normalisation.values())
    found = FORMS[form].run(path)(IMAGES * std + mean)
    torch.testing.assert_close(found[1], scores, rtol=1e-4, atol=1e-5)
    assert ((found[0] - points).norm(dim=2) < 0.1).float().mean() > 0.9
    assert {file.suffix for file in tmp_path.iterdir()} == {"", *FORMS[form].suffixes[1:]}


@pytest.mark.parametrize(
    ("codec", "form"),
    [
        (MSRAHeatmap(*SIZES, 2.0, unbiased=True), "torchscript"),
        (UDPHeatmap(*SIZES), "torchscript"),
        (NewellHeatmap(*SIZES), "torch.export"),
    ],
    ids=["dark", "udp", "newell"],
)
def test_every_decoder_and_what_the_file_says(codec: HeatmapCodec, form: str, tmp_path: Path) -> None:
    _, report = write(tmp_path, form, codec, decode=True)
    assert report.differences.near > 0.97 and report.differences.images == 4
    extra = {"hgfast.json": ""}
    if form == "torchscript":
        torch.jit.load(tmp_path / "net", _extra_files=extra)
    else:
        torch.export.load(tmp_path / "net", extra_files=extra)
    about = json.loads(extra["hgfast.json"])
    assert about == json.loads(json.dumps(report.about)) and KeypointSet.from_table(about["keypoints"]) == POINTS
    assert about["heatmaps"] == {"count": 5, "size": [16, 16], "decode": codec.method, "sigma": codec.sigma}


def test_heatmaps_of_a_fused_network_which_stays_as_it_was(tmp_path: Path) -> None:
    model = fuse(apply_recipe(foreign_model("mmpose", num_stacks=1), 1)).train()
    before = [type(module) for module in model.modules()]
    codec = NewellHeatmap(*SIZES)
    report = export.export_network(model, tmp_path / "a", "torchscript", codec, keypoints=POINTS)
    assert "heatmaps of 4 random images differ by" in str(report) and report.differences.near is None
    assert [type(module) for module in model.modules()] == before and model.training
    with torch.no_grad():
        expected = model.eval()(IMAGES)[-1]
    torch.testing.assert_close(torch.jit.load(tmp_path / "a")(IMAGES), expected, rtol=1e-4, atol=1e-4)


def spoiled(run: Any) -> Any:
    return lambda images: [result + 0.1 for result in run(images)]


@pytest.mark.parametrize("decode", [False, True])
def test_a_file_that_is_wrong_does_not_come_to_its_place(decode: bool, tmp_path: Path, monkeypatch: Any) -> None:
    right = FORMS["torchscript"]
    wrong = Form(right.title, (".a",), (), "", right.write, lambda path: spoiled(right.run(path)))
    monkeypatch.setitem(FORMS, "torchscript", wrong)
    with pytest.raises(export.ExportError, match="what TorchScript gives is not what the network gives: .*differ by"):
        write(tmp_path, "torchscript", MSRAHeatmap(*SIZES, 2.0), decode=decode)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"to": "tflite"}, ValueError, "export_network: to must be one of"),
        ({"codec": "udp"}, TypeError, "export_network: codec must be"),
        ({"model": torch.ones(1)}, TypeError, "export_network: model must be"),
        (
            {"keypoints": MPII},
            ValueError,
            r"model must give heatmaps \(1, 16, 16, 16\) for keypoints 'mpii', got Tensor",
        ),
        ({"codec": MSRAHeatmap((64, 64), (8, 8), 2.0)}, ValueError, r"model must give heatmaps \(1, 5, 8, 8\)"),
        ({"decode": 1}, TypeError, "decode must be True or False"),
        ({"mean": (1, 2)}, ValueError, r"mean must have shape \(3\)"),
        ({"path": "no/such/\0"}, ValueError, "path must be a path"),
        ({"std": (1.0, 0.0, 1.0)}, ValueError, r"std must be from 0.001 to 1e\+06"),
        ({"mean": (1.0, 2.0, 1e38)}, ValueError, "mean must be from 0 to 255"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    arguments = {"model": Tiny(), "path": tmp_path / "a", "to": "torchscript", "keypoints": POINTS}
    with pytest.raises(error, match=message):
        export.export_network(**(arguments | {"codec": MSRAHeatmap(*SIZES, 2.0)} | changes))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "best.pt"
    config = apply(preset("demo"), SMALL)
    save_checkpoint(apply_recipe(make_model(config), 1), path, "hgfast", checkpoint_meta(config, {}))
    return path


def test_the_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {*OPTIONS} == {*FORMS, "frozen", "safetensors"}
    assert main(["export", str(checkpoint), "--to", "torchscript", "--decode"]) == 0
    assert "keypoints, scores\nchecked in float32: of 4 random images" in capsys.readouterr().out
    assert checkpoint.with_name("best.torchscript").exists()
    assert main(["export", str(checkpoint), str(tmp_path / "f.pt"), "--to", "frozen"]) == 0
    assert isinstance(FrozenModel.load(tmp_path / "f.pt"), FrozenModel)
    for words, message in (
        (["--to", "frozen", "--decode"], "--decode: is for the forms that run without hgfast, got --to frozen"),
        ([str(checkpoint), "--to", "torchscript"], "would overwrite the checkpoint"),
        ([str(tmp_path / "a.pt"), "--to", "safetensors"], "expected a name that ends in .safetensors"),
    ):
        assert main(["export", str(checkpoint), *words]) == 2
        assert message in capsys.readouterr().err


def test_missing_packages_are_named_before_the_work(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for form, package, extra in (("onnx", "onnxscript", "onnx"), ("openvino", "openvino", "openvino")):
        for name in (*FORMS[form].packages, package):
            monkeypatch.setitem(sys.modules, name, None if name == package else sys)
        assert main(["export", "nowhere.pt", "--to", form]) == 2
        said = capsys.readouterr().err
        assert f"the export needs {package} (pip install " in said and f"[{extra}]" in said
