"""Damaged states of a run: one error that names file and field, before anything is taken."""

import copy

import pytest
import torch

from hgfast.checkpoint import read_checkpoint
from hgfast.train.config import Config, apply
from hgfast.train.parallel import World
from hgfast.train.state import checkpoint_meta, read_state, restore, stored_config
from tests.test_train import config, figures, trainer_for  # noqa: F401 - fixtures

NAN = float("nan")
WEIGHT = "backbone.stem.0.conv.weight"
DAMAGES = [
    (("meta",), 3, "meta must be a dict"),
    (("meta", "hgfast"), None, "meta.hgfast must be a str"),
    (("meta", "config"), [], "meta.config must be a dict"),
    (("meta", "config", "lr"), "x", "lr must be a number"),
    (("meta", "config", "augment", "rotation"), NAN, "augment.rotation must be finite"),
    (("meta", "metrics"), None, "meta.metrics must be a dict"),
    (("meta", "metrics", "PCKh"), "x", "meta.metrics['PCKh'] must be a float"),
    (("state_dict",), None, "state_dict must be a dict"),
    (("state_dict", WEIGHT), 3, f"state_dict['{WEIGHT}'] must be a torch.Tensor"),
    (("state_dict", WEIGHT), torch.zeros(8, 3, 7, 7).double(), f"state_dict['{WEIGHT}'] must have one of the dtypes"),
    (("state_dict", WEIGHT), torch.zeros(8, 3, 7, 7).to_sparse(), f"state_dict['{WEIGHT}'] must be a dense tensor"),
    (("state_dict", WEIGHT), torch.full((8, 3, 7, 7), NAN), f"state_dict['{WEIGHT}'] must be finite"),
    (("state_dict", WEIGHT), torch.empty(8, 3, 7, 7, device="meta"), f"state_dict['{WEIGHT}'] must have data"),
    (("averaged", WEIGHT), torch.full((8, 3, 7, 7), NAN), f"averaged['{WEIGHT}'] must be finite"),
    (("optimizer", "state"), [], "optimizer.state must be a dict"),
    (("optimizer", "state", 5), {}, "optimizer.state[5] lacks ['exp_avg', 'exp_avg_sq', 'step']"),
    (("optimizer", "state", 5, "exp_avg"), torch.zeros(3), "optimizer.state[5].exp_avg must have shape"),
    (("optimizer", "state", 5, "step"), 1, "optimizer.state[5].step must be a torch.Tensor"),
    (("optimizer", "param_groups"), [], "optimizer.param_groups must be a list of one dict"),
    (
        ("optimizer", "param_groups", 0, "params", 2),
        torch.zeros(3),
        "optimizer.param_groups[0].params[2] must be an int",
    ),
    (("optimizer", "param_groups", 0, "lr"), None, "optimizer.param_groups[0].lr must be a number"),
    (("scaler", "scale"), "x", "scaler.scale must be a number"),
    (("scaler", "_growth_tracker"), 10**9, "scaler._growth_tracker must be at most 2000"),
    (("position",), 1, "position must be a dict"),
    (("position", "epoch"), -1, "position.epoch must be at least 0"),
    (("position", "batch"), 1.0, "position.batch must be an int"),
    (("position", "best"), NAN, "position.best must be finite"),
    (("position", "more"), 1, "position must not have ['more']"),
    (("ranks",), torch.zeros(1, 3).double(), "ranks must have shape"),
    (("ranks",), torch.zeros(0, 3).double(), "ranks must have a row for each process"),
    (("rng",), torch.zeros(3, dtype=torch.uint8), "rng must have shape"),
    (("rng",), torch.zeros(5056, dtype=torch.uint8), "rng holds no state of random numbers"),
    (("cuda_rng",), [1], "cuda_rng[0] must be a torch.Tensor"),
]
FIELDS = ("meta", "state_dict", "averaged", "optimizer", "scaler", "position", "ranks", "rng", "cuda_rng")


def test_damaged_states_are_named_by_file_and_field(config):  # noqa: F811
    trainer = trainer_for(apply(config, {"epochs": 1, "ema": 0.5, "amp": "fp16", "freeze": False}))
    trainer.fit()
    good = read_checkpoint(trainer.last)

    def error_of(content):
        torch.save(content, trainer.last)
        with pytest.raises(ValueError) as caught:
            restore(read_state(trainer.last), trainer.last, trainer.step, World())
        assert "\n" not in str(caught.value) and str(trainer.last) in str(caught.value)
        return str(caught.value).replace(f"{trainer.last}: ", "")

    for place, value, message in DAMAGES:
        *parents, last = place
        content = inner = copy.copy(good)
        for name in parents:
            inner[name] = inner = copy.copy(inner[name])
        inner[last] = value
        assert error_of(content).startswith(message), place
    for field in FIELDS:
        rest = {name: value for name, value in good.items() if name != field}
        assert error_of(rest) == f"holds no state of a training run to go on from: {field} missing"
    assert "position" in error_of(read_checkpoint(trainer.folder / "best.pt"))
    for part, inside in (("position", "step"), ("optimizer", "state"), ("scaler", "scale")):
        content = good | {part: dict(good[part])}
        del content[part][inside]
        assert error_of(content) == f"{part} lacks ['{inside}']"
    torch.save(good, trainer.last)
    assert restore(read_state(trainer.last), trainer.last, trainer.step, World()).epoch == 1


def test_relative_paths_lead_to_where_training_was_started(figures, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(figures)
    relative = {"val_annotations": "val.json", "val_images": "images", "train_images": "nowhere"}
    content = {"meta": checkpoint_meta(apply(Config(), relative), {})}
    assert stored_config(content, "best.pt").val_annotations == "val.json"
    monkeypatch.chdir(tmp_path)
    found = stored_config(content, "best.pt")
    assert (found.val_annotations, found.val_images) == (str(figures / "val.json"), str(figures / "images"))
    assert found.train_images == "nowhere"


def test_a_state_of_other_layouts_goes_on_as_its_own(config):  # noqa: F811
    """Adam's fused step pairs the numbers of its tensors by their places in memory, not by their indices."""
    trainer = trainer_for(apply(config, {"epochs": 1}))
    trainer.fit()
    content = read_checkpoint(trainer.last)
    for entry in content["optimizer"]["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            if entry[name].dim() == 4:
                entry[name] = entry[name].contiguous(memory_format=torch.channels_last)
    restore(content, trainer.last, trainer.step, World())
    before = read_checkpoint(trainer.last)["optimizer"]["state"]
    for number, (parameter, entry) in enumerate(trainer.step.optimizer.state.items()):
        for name in ("exp_avg", "exp_avg_sq"):
            assert entry[name].stride() == parameter.stride() and torch.equal(entry[name], before[number][name])
