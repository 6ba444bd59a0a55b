"""Runs that begin with a checkpoint's weights, with all of the network trained, or its backbone less or not at all."""

from dataclasses import replace

import pytest
import torch

from hgfast.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from hgfast.train import Trainer, TrainingStopped
from hgfast.train.build import make_model
from hgfast.train.config import apply
from hgfast.train.groups import parameter_groups
from hgfast.train.start import load_weights
from tests.test_own_keypoints import beetles, run, settings  # noqa: F401 - fixtures
from tests.test_train import StopAfter, config, figures, same_state, trainer_for  # noqa: F401 - fixtures

STACKED = {"model": "hg2", "model_options": {"channels": 8, "stem_channels": [4, 8]}, "init": "peer"}


def begun(config, said):  # noqa: F811
    """Weights that a run with these settings begins with."""
    model = make_model(config)
    said += load_weights(config, model)
    return model.state_dict()


def split(model_or_state, heads=("head.", "outs.", "merge_preds.")):
    state = model_or_state if isinstance(model_or_state, dict) else model_or_state.state_dict()
    head = {name for name in state if name.startswith(heads)}
    return {name: state[name] for name in head}, {name: state[name] for name in state.keys() - head}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def test_other_keypoints_get_a_new_head(run, config):  # noqa: F811
    trainer, _ = run
    path, said = str(trainer.folder / "best.pt"), []
    state = begun(apply(config, {"weights": path}), said)
    heads, backbone = split(state)
    assert equal(backbone, split(read_checkpoint(path)["state_dict"])[1])
    assert equal(heads, split(make_model(config))[0])
    assert said == [
        f"{path}: {len(backbone)} weights loaded; the last layers start anew: 5 keypoints in the file, 16 here"
    ]


def test_the_same_keypoints_keep_their_head(run, beetles, tmp_path):  # noqa: F811
    trainer, _ = run
    path, said = str(trainer.folder / "best.pt"), []
    table = trainer.config.keypoints
    same = settings(beetles, tmp_path / "run", weights=path, keypoints=table, sigma=3.0)
    assert equal(begun(same, said), read_checkpoint(path)["state_dict"])
    assert said[0].endswith("weights loaded") and said[1].endswith("other settings of the input: sigma 1.5 -> 3.0")
    others = {"names": list("abcde"), "name": "letters"}
    heads, backbone = split(begun(apply(same, {"keypoints": others}), said))
    assert not equal(heads, split(read_checkpoint(path)["state_dict"])[0])
    assert said[2].endswith("the file's are for other keypoints (beetle)")


@pytest.mark.parametrize("head", ["head.", "keypoint_head."])
def test_files_of_mmpose_and_backbones_alone(config, tmp_path, head):  # noqa: F811
    model, said = make_model(apply(config, {"seed": 5})), []
    renamed = {name.replace("head.", head): value for name, value in model.state_dict().items()}
    torch.save({"state_dict": renamed, "meta": {"mmpose_version": "1.3.2"}}, tmp_path / "w.pth")
    settings = apply(config, {"weights": str(tmp_path / "w.pth")})  # noqa: F811
    assert equal(begun(settings, said), model.state_dict())
    backbone = {name.removeprefix("backbone."): value for name, value in split(model)[1].items()}
    torch.save({"state_dict": backbone}, tmp_path / "w.pth")
    assert equal(split(begun(settings, said))[1], split(model)[1])
    assert said[1].endswith("the last layers start anew: they are not in the file")


def test_newell_networks_get_new_last_layers(config, tmp_path):  # noqa: F811
    old = make_model(replace(config, **STACKED, seed=3))
    save_checkpoint(old, tmp_path / "w.pth", "princeton")
    own = {"format": "coco", "keypoints": {"names": list("abc")}, "weights": str(tmp_path / "w.pth")}
    said = []
    heads, backbone = split(begun(replace(config, **STACKED | own), said))
    assert equal(backbone, split(old)[1]) and len(heads) == 6
    assert said[0].endswith("16 keypoints in the file, 3 here")


def test_files_that_do_not_fit_are_refused(run, config, tmp_path):  # noqa: F811
    with pytest.raises(FileNotFoundError, match="none.pt"):
        trainer_for(apply(config, {"weights": str(tmp_path / "none.pt")}))
    trainer, _ = run
    wider = {"model_options": {"feat_channel": 24}, "weights": str(trainer.folder / "best.pt")}
    with pytest.raises(CheckpointError, match=r"of another shape\n(.*\n)*.*backbone.out_convs"):
        trainer_for(apply(config, wider))
    with pytest.raises(CheckpointError, match="No name of the file is one of the model's"):
        trainer_for(replace(config, **STACKED, weights=wider["weights"]))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", [{}, STACKED | {"implementation": "reference"}])
def test_a_frozen_backbone_stays_as_it_is(config, tmp_path, change):  # noqa: F811
    settings = replace(config, **change, backbone_rate=0.0, epochs=1, ema=0.5)  # noqa: F811
    trainer = trainer_for(settings)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.fit()
    (old_heads, old), (heads, kept) = split(before), split(trainer.model)
    assert equal(old, kept) and equal(old, split(trainer.step.averaged.model)[1])
    changed = [name for name, value in heads.items() if not torch.equal(value, old_heads[name])]
    assert sorted(changed) == sorted(heads)
    again = trainer_for(apply(settings, {"epochs": 2}), resume=True)
    again.fit()
    assert equal(split(again.model)[1], old)


def test_a_lower_rate_for_the_backbone(config):  # noqa: F811
    settings = apply(config, {"backbone_rate": 0.25})  # noqa: F811
    trainer = trainer_for(settings)
    trainer.fit()
    rates = [group["lr"] for group in trainer.step.optimizer.param_groups]
    assert rates == [rates[0], rates[0] / 4]
    weights = [len(group["params"]) for group in trainer.step.optimizer.param_groups]
    everything = sum(value.requires_grad for value in trainer.model.parameters())
    assert weights == [2, everything - 2]


def test_resuming_with_groups_is_bit_exact(config, tmp_path):  # noqa: F811
    settings = apply(config, {"backbone_rate": 0.1, "epochs": 2})  # noqa: F811
    straight = trainer_for(apply(settings, {"output": str(tmp_path / "straight")}))
    straight.fit()
    first = trainer_for(settings)
    first.loader = StopAfter(first, 3)
    with pytest.raises(TrainingStopped):
        first.fit()
    with pytest.raises(CheckpointError, match="a list of one dict .as backbone_rate says"):
        trainer_for(apply(settings, {"backbone_rate": 1.0}), resume=True)
    second = trainer_for(settings, resume=True)
    assert second.fit() == straight.metrics
    assert same_state(second.folder / "last.pt", straight.folder / "last.pt")


def test_a_resumed_run_does_not_begin_again(run, config, tmp_path):  # noqa: F811
    weights = tmp_path / "w.pt"
    weights.write_bytes((run[0].folder / "best.pt").read_bytes())
    said = []
    settings = apply(config, {"weights": str(weights), "epochs": 1})  # noqa: F811
    Trainer(settings, quiet=True, say=said.append).fit()
    assert any("start anew: 5 keypoints in the file" in line for line in said)
    weights.unlink()
    again = trainer_for(apply(settings, {"epochs": 2}), resume=True)
    assert again.position.epoch == 1


def test_arguments_of_groups_are_checked(config):  # noqa: F811
    with pytest.raises(ValueError, match="parameter_groups: backbone_rate must be at least 0"):
        parameter_groups(make_model(config), -1)
    with pytest.raises(TypeError, match="parameter_groups: model must be"):
        parameter_groups(torch.nn.Conv2d(1, 1, 1), 1.0)
