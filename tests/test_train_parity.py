"""Two hundred steps from the same weights, fused and reference: the same losses and the same PCKh."""

from __future__ import annotations

import pytest

from hgfast.data.synthetic import write_set
from hgfast.train import Trainer, preset
from hgfast.train.config import apply
from hgfast.train.log import read_log
from tests.recipe import apply_recipe
from tests.test_train import SMALL


def test_two_hundred_steps(tmp_path) -> None:
    write_set(tmp_path, 32, 1, "train")
    write_set(tmp_path, 16, 2, "val")
    paths = {f"{part}_annotations": str(tmp_path / f"{part}.json") for part in ("train", "val")}
    paths |= {f"{part}_images": str(tmp_path / "images") for part in ("train", "val")}
    length = {"epochs": 50, "batch_size": 8, "val_interval": 50, "milestones": [40], "lr": 3e-5, "workers": 0}
    length |= {"checkpoint_interval": 50}
    losses, scores = [], []
    for name in ("fused", "reference"):
        changes = {**SMALL, **paths, **length, "implementation": name, "output": str(tmp_path / name)}
        trainer = Trainer(apply(preset("demo"), changes), quiet=True, say=lambda _: None)
        apply_recipe(trainer.model, 1)  # MMPose's own start is so small that Adam steps along the rounding errors
        scores.append(trainer.fit()["PCKh"])
        assert trainer.position.step == 200
        losses.append([float(row["loss"]) for row in read_log(trainer.folder / "log.csv")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][-1] < 0.8 * losses[0][0]
    assert scores[0] == pytest.approx(scores[1], abs=1.0)
