"""The line `custom_imports = dict(imports=["hgfast.mmpose"])` in the real MMEngine's runner.

MMPose itself needs mmcv's compiled operators, which cannot be had for this torch; its hourglass stands in from
tests/zoo/openmmlab.py, as an MMEngine model.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import Tensor, nn

from hgfast.fusion import lowered
from hgfast.fusion.classes import is_fused, ways_of
from tests.zoo.openmmlab import HourglassNet, TopdownPoseEstimator

mmengine = pytest.importorskip("mmengine", reason="hgfast.mmpose is for MMEngine, which is not installed")
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

SIZE = 64


@MODELS.register_module(name="HourglassOfTheTest", force=True)
class Estimator(BaseModel):
    """MMPose's TopdownPoseEstimator: one forward pass for losses, predictions and heatmaps."""

    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__(init_cfg=init_cfg)
        network = TopdownPoseEstimator(backbone=HourglassNet(num_stacks=1))
        self.backbone, self.head = network.backbone, network.head

    def forward(self, inputs: list[Tensor], data_samples: Any = None, mode: str = "tensor") -> Any:
        heatmaps = self.head(self.backbone(torch.stack(inputs)))
        if mode == "loss":
            return {"loss": (torch.stack(heatmaps) - torch.stack(data_samples)).square().mean()}
        return [item.flatten(1).argmax(1) for item in heatmaps[-1]] if mode == "predict" else heatmaps


class Figures(torch.utils.data.Dataset[Any]):
    """Four random images and their targets."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(number)
        return {
            "inputs": torch.randn(3, SIZE, SIZE, generator=draw),
            "data_samples": torch.randn(5, SIZE // 4, SIZE // 4, generator=draw),
        }


def configuration(folder: Path, text: str = "") -> Any:
    """A file as users of MMPose have them, read by MMEngine."""
    file = folder / "config.py"
    file.write_text(f'custom_imports = dict(imports=["hgfast.mmpose"])\n{text}\n', encoding="utf-8")
    return Config.fromfile(file)


def build_runner(folder: Path, text: str = "", hooks: list[Any] | None = None) -> Any:
    # runners of one name share a logger and its files
    name, loader = folder.name, {"batch_size": 2, "num_workers": 0, "collate_fn": pseudo_collate}
    return Runner(
        model={"type": "HourglassOfTheTest", "init_cfg": {"type": "Normal", "layer": "Conv2d", "std": 0.05}},
        work_dir=str(folder),
        train_dataloader=loader | {"dataset": Figures(), "sampler": {"type": "DefaultSampler", "shuffle": False}},
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.05}},
        randomness={"seed": 3},
        custom_hooks=hooks,
        experiment_name=name,
        cfg=configuration(folder, text),
    )


def fused_modules(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if is_fused(module)]


def weights_after_training(runner: Any) -> dict[str, Tensor]:
    runner.train()
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


@pytest.fixture(autouse=True)
def process_as_before() -> Any:
    """A runner takes OpenCV's threads away and leaves its log files open."""
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()


def test_training_gives_the_same_weights(tmp_path: Path) -> None:
    fused, plain = tmp_path / "fused", tmp_path / "plain"
    fused.mkdir(), plain.mkdir()
    runner = build_runner(fused)
    names = fused_modules(runner.model)
    assert any(name.startswith("backbone.hourglass_modules") for name in names)
    assert "modules fused" in next(fused.glob("*/*.log")).read_text()
    mine = weights_after_training(runner)
    assert fused_modules(runner.model) == names  # nothing that MMEngine did between has undone it
    unfused = build_runner(plain, "hgfast = dict(fuse=False)")  # which sets the seed again
    assert not fused_modules(unfused.model)
    theirs = weights_after_training(unfused)
    assert list(mine) == list(theirs)
    for name, value in mine.items():
        torch.testing.assert_close(
            value, theirs[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    content = torch.load(fused / "epoch_2.pth", weights_only=False)  # of MMEngine's own kind
    torch.testing.assert_close(content["state_dict"], {name: value.cpu() for name, value in mine.items()})


def test_fused_operations_run_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """init_weights, the optimizer and averaged weights come after fuse, and all of it still fits."""
    runner = build_runner(tmp_path, hooks=[{"type": "EMAHook"}])
    calls: list[Any] = []
    run = lowered.run
    monkeypatch.setattr(lowered, "run", lambda *values: calls.append(values[0]) or run(*values))
    runner.train()
    ways = [way for module in runner.model.modules() if is_fused(module) for way in ways_of(module)]
    steps = [step for way in ways for step in way.steps]
    operations = [step for step in steps if isinstance(step, lowered.ProgramStep) and step.convolutions]
    assert len(calls) >= 4 * len(operations) > 40  # two epochs of two batches


def test_recompute_is_an_option(tmp_path: Path) -> None:
    runner = build_runner(tmp_path, "hgfast = dict(recompute=True)")
    assert all(way.recompute for module in runner.model.modules() if is_fused(module) for way in ways_of(module))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("hgfast = dict(fused=True)", ValueError, "names in hgfast must be one of 'fuse', 'recompute'; got 'fused'"),
        ("hgfast = dict(fuse=1)", TypeError, "fuse must be True or False, got int 1"),
        ("hgfast = 3", TypeError, "hgfast must be a Mapping, got"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_runner(tmp_path, text)


def test_a_second_import_changes_nothing() -> None:
    import hgfast.mmpose

    before = Runner.wrap_model
    assert importlib.import_module("hgfast.mmpose") is hgfast.mmpose
    assert Runner.wrap_model is before
