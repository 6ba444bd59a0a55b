"""Options of training: accumulation, clipping, averaged weights, half precision, events, the printed settings."""

import sys
from pathlib import Path

import pytest
import torch

from hgfast.checkpoint import read_checkpoint
from hgfast.cli import main
from hgfast.data import EpochSampler, make_loader
from hgfast.train import TrainingStopped
from hgfast.train.build import make_dataset
from hgfast.train.config import apply, to_toml
from hgfast.train.ema import AveragedModel
from hgfast.train.log import read_log
from hgfast.train.parallel import World
from hgfast.train.step import TrainingStep, trainable
from tests.test_train import StopAfter, config, figures, same_state, trainer_for, without_speed  # noqa: F401 - fixtures
from tests.test_train_distributed import CPU, RATE, frozen_model


def batches_of(settings, batch_size):
    dataset = make_dataset(settings, "train")
    return list(make_loader(dataset, EpochSampler(len(dataset), batch_size, True, settings.seed)))


def test_only_training_decodes_at_reduced_scale(config):  # noqa: F811
    exact = apply(config, {"fast_decode": False})
    wishes = [(settings, part) for settings in (config, exact) for part in ("train", "val")]
    assert [make_dataset(*wish).fast_decode for wish in wishes] == [True, False, False, False]


def one_step(settings, batches):
    """Network, gradients and loss of a step without BatchNorm's batch statistics."""
    model = frozen_model(settings)
    step = TrainingStep(settings, model, CPU, World())
    step.optimizer = torch.optim.SGD(trainable(model), lr=0.0)
    loss = float(step(batches, RATE))
    return model, [parameter.grad for parameter in trainable(model)], loss


def test_accumulated_batches_are_one_large_batch(config):  # noqa: F811
    (large,) = batches_of(config, 14)
    small = [
        {name: value[part] for name, value in large.items()} for part in (slice(0, 6), slice(6, 10), slice(10, 14))
    ]
    model, gradients, loss = one_step(config, [large])
    accumulated, same, same_loss = one_step(config, small)
    assert same_loss == pytest.approx(loss, rel=1e-5)
    for a, b in zip(gradients, same, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-7)
    for a, b in zip(model.parameters(), accumulated.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss_scale", [1.0, 8.0])
def test_gradients_are_cut_to_the_norm(config, loss_scale):  # noqa: F811
    settings = apply(config, {"loss_scale": loss_scale})
    batch = batches_of(settings, 4)[0]
    _, free, _ = one_step(settings, [batch])
    norm = torch.stack([gradient.norm() for gradient in free]).norm() / loss_scale
    for share in (0.25, 4.0):
        _, cut, _ = one_step(apply(settings, {"grad_clip": float(norm) * share}), [batch])
        for a, b in zip(free, cut, strict=True):
            torch.testing.assert_close(b, a * min(share, 1), rtol=1e-3, atol=1e-9)


def test_averaged_weights_follow_the_formula():
    model = torch.nn.BatchNorm2d(2)
    averaged = AveragedModel(model, 0.9)
    weight, mean = torch.ones(2), torch.zeros(2)
    for step in range(200):
        with torch.no_grad():
            model.weight.fill_(step)
            model.running_mean.fill_(-step)
            model.num_batches_tracked.fill_(step)
        averaged.update(model, step)
        keep = min(0.9, (1 + step) / (10 + step))
        weight, mean = keep * weight + (1 - keep) * step, keep * mean - (1 - keep) * step
    torch.testing.assert_close(averaged.model.weight.data, weight)
    torch.testing.assert_close(averaged.model.running_mean, mean)
    assert averaged.model.num_batches_tracked == 199
    assert not averaged.model.training and not averaged.model.weight.requires_grad


OPTIONS = {"accumulate": 2, "grad_clip": 0.05, "ema": 0.8}
HALF = {"amp": "fp16", "input_size": [32, 32]}  # CPUs are slow at it


@pytest.mark.parametrize("change", [OPTIONS, OPTIONS | HALF, {"amp": "bf16", "ema": 0.5}])
def test_resuming_with_options_is_bit_exact(config, tmp_path, change):  # noqa: F811
    """14 pictures in batches of 4: four batches, two steps an epoch with ``accumulate = 2``; the second half alone."""
    settings = apply(config, change | {"epochs": 2})
    straight = trainer_for(apply(settings, {"output": str(tmp_path / "straight")}))
    straight.fit()
    first = trainer_for(settings)
    first.loader = StopAfter(first, 3)
    with pytest.raises(TrainingStopped, match="stopped at step 3"):
        first.fit()
    second = trainer_for(settings, resume=True)
    assert second.fit() == straight.metrics
    ours, theirs = (read_checkpoint(trainer.folder / "last.pt") for trainer in (second, straight))
    assert same_state(second.folder / "last.pt", straight.folder / "last.pt")
    assert ours["position"] == theirs["position"] and ours["averaged"]
    logs = [without_speed(read_log(trainer.folder / "log.csv")) for trainer in (second, straight)]
    assert logs[0] == logs[1] and float(logs[0][-1]["loss"]) < float(logs[0][0]["loss"])
    assert ours["position"]["step"] == 2 * (2 if change.get("accumulate") else 4)


def test_averaged_weights_are_validated_and_kept(config):  # noqa: F811
    trainer = trainer_for(apply(config, {"ema": 0.7, "epochs": 1}))
    metrics = trainer.fit()
    last, best = (read_checkpoint(trainer.folder / name) for name in ("last.pt", "best.pt"))
    assert all(torch.equal(best["state_dict"][name], value) for name, value in last["averaged"].items())
    weights = [name for name, value in last["averaged"].items() if not torch.equal(value, last["state_dict"][name])]
    assert len(weights) > 50
    assert trainer.validate() == metrics == best["meta"]["metrics"]


def test_averaging_may_begin_when_a_run_goes_on(config):  # noqa: F811
    trainer_for(apply(config, {"epochs": 1})).fit()
    later = trainer_for(apply(config, {"epochs": 2, "ema": 0.5}), resume=True)
    raw = later.model.state_dict()
    assert all(torch.equal(value, raw[name]) for name, value in later.step.averaged.model.state_dict().items())
    later.fit()


def test_half_precision_scales_the_loss(config):  # noqa: F811
    trainer = trainer_for(apply(config, HALF | {"epochs": 1}))
    assert trainer.step.scaler.is_enabled()
    trainer.fit()
    assert read_checkpoint(trainer.folder / "last.pt")["scaler"]["_growth_tracker"] == 4


def test_frozen_validation_is_the_plain_one(config):  # noqa: F811
    trainer = trainer_for(apply(config, {"epochs": 1}))
    metrics = trainer.fit()
    plain = trainer_for(apply(config, {"epochs": 1, "freeze": False}), resume=True)
    frozen, whole = trainer.make_predictor(), plain.make_predictor()
    assert type(frozen.network).__name__ == "FrozenModel" and whole.network is plain.model
    assert plain.validate() == pytest.approx(metrics, abs=2)


def test_events_for_tensorboard(config):  # noqa: F811
    from tensorboard.backend.event_processing import event_accumulator as events

    trainer = trainer_for(apply(config, {"tensorboard": True, "epochs": 3, "checkpoint_steps": 1}))
    trainer.loader = StopAfter(trainer, 7)
    with pytest.raises(TrainingStopped):
        trainer.fit()
    again = trainer_for(apply(config, {"tensorboard": True, "epochs": 3}), resume=True)
    again.fit()
    shown = events.EventAccumulator(str(again.folder))
    shown.Reload()
    rows = read_log(again.folder / "log.csv")
    for name in ("loss", "PCKh", "lr"):
        points = shown.Scalars(name)
        assert [point.step for point in points] == [4, 8, 12]
        assert [point.value for point in points] == pytest.approx([float(row[name]) for row in rows], rel=1e-4)
    assert [point.step for point in shown.Scalars("loss of the step")] == [10]


@pytest.mark.parametrize(
    ("package", "change", "message"),
    [
        ("tensorboard", {"tensorboard": True}, "tensorboard=true needs tensorboard \\(pip install "),
        (
            "pycocotools.cocoeval",
            {"format": "coco", "keypoints": "coco", "monitor": "AP"},
            "AP by OKS needs pycocotools",
        ),
    ],
)
def test_missing_packages_are_noticed_before_the_work(config, monkeypatch, package, change, message):  # noqa: F811
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=message):
        trainer_for(apply(config, change | {"train_annotations": "none.json"}))
    assert not Path(config.output).exists()


def test_settings_are_printed_with_the_run(config, tmp_path, capsys):  # noqa: F811
    path = tmp_path / "run.toml"
    path.write_text(to_toml(apply(config, {"epochs": 1})))
    assert main(["train", "--config", str(path), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith((tmp_path / "run" / "config.toml").read_text())
