"""The parts of training that need no network: settings, schedule, log, files."""

import os

import pytest
import torch

from hgfast.files import atomic_write, write_text
from hgfast.train.build import make_model
from hgfast.train.config import Config, ConfigError, apply, parse_assignments, read_toml, to_dict, to_toml
from hgfast.train.log import RunLog, draw_curves, read_log
from hgfast.train.presets import PRESETS, preset
from hgfast.train.schedule import learning_rate


def test_schedule_is_mmposes():
    config = Config()
    expected = {0: 5e-7, 1: 1.501e-6, 250: 2.50751e-4, 498: 4.99e-4, 499: 5e-4, 5000: 5e-4}
    for step, rate in expected.items():
        assert learning_rate(config, step, epoch=0) == pytest.approx(rate, rel=3e-4)
        assert learning_rate(config, step, 0) == pytest.approx(5e-4 * (0.001 + 0.999 * min(step, 499) / 499))
    rates = [learning_rate(config, 10_000, epoch) for epoch in (169, 170, 199, 200, 209)]
    assert rates == pytest.approx([5e-4, 5e-5, 5e-5, 5e-6, 5e-6])


def test_schedule_by_steps_and_without_warmup():
    config = preset("hg8-mpii")
    assert [learning_rate(config, step, 3) for step in (0, 99_999, 100_000)] == pytest.approx([1e-3, 1e-3, 2e-4])
    assert learning_rate(apply(Config(), {"warmup_steps": 1}), 0, 0) == 5e-4


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_toml(name, tmp_path):
    config = preset(name)
    path = tmp_path / "a.toml"
    path.write_text(to_toml(config))
    assert apply(Config(), read_toml(path)) == config
    assert apply(Config(), to_dict(config)) == config
    assert config.output == f"runs/{name}"


def test_presets_hold_the_recipes():
    mpii, large, coco = (preset(f"hourglass52-{name}") for name in ("mpii-256", "mpii-384", "coco-384"))
    assert (mpii.lr, mpii.epochs, mpii.milestones, mpii.sigma) == (5e-4, 210, (170, 200), 2.0)
    assert (large.input_size, large.sigma, coco.sigma) == ((384, 384), 2.0, 3.0)  # MPII keeps sigma 2 at 384
    assert (coco.augment.shift_prob, coco.augment.half_body_prob, mpii.augment.half_body_prob) == (0.3, 0.3, 0.0)
    face, hand = preset("hourglass52-face-256"), preset("hourglass52-hand-256")
    assert (face.lr, face.milestones, face.augment.scale, face.augment.rotation) == (2e-3, (40, 55), 0.25, 60.0)
    assert (face.augment.shift_prob, hand.augment.shift_prob) == (0.3, 0.3)  # MMPose's default; only MPII turns it off
    newell = preset("hg2-mpii")
    assert (newell.augment.distribution, newell.augment.scale, newell.augment.colour_prob) == ("uniform", 0.25, 0.5)
    assert (newell.batch_size, newell.mean, newell.std, newell.sigma) == (16, (0, 0, 0), (255, 255, 255), 1.0)
    assert (hand.augment.scale, hand.augment.rotation, hand.keypoints) == (0.3, 180.0, "hand")


def test_assignments():
    texts = ["lr=1e-3", "augment.rotation=30", "output=runs/a b", "flip_test=false", "input_size=[64, 96]"]
    config = apply(Config(), parse_assignments(texts + ["model_options.num_stacks=2"]))
    assert (config.lr, config.augment.rotation, config.output) == (1e-3, 30.0, "runs/a b")
    assert (config.flip_test, config.input_size, config.model_options) == (False, (64, 96), {"num_stacks": 2})
    assert config.augment.scale == Config().augment.scale  # the rest of the table stays


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning_rate=1", "lerning_rate: no such setting"),
        ("milestone=[1]", "milestone: no such setting; did you mean milestones"),
        ("augment.rotaton=1", r"augment.rotaton: no such setting; did you mean augment.rotation"),
        ("epochs=1.5", "epochs: expected int, got 1.5"),
        ("flip_test=1", "flip_test: expected bool, got 1"),
        ("lr=fast", "lr: expected float, got 'fast'"),
        ("input_size=[1]", "input_size: expected 2 values, got 1"),
        ("amp=int8", "amp: expected one of off, bf16, fp16, got 'int8'"),
        ("epochs=0", "epochs: expected at least 1"),
        ("lr=-1", "lr and sigma: expected positive"),
        ("lr", "--set lr: expected key=value"),
        ("workers=-1", "workers: expected 0 or more, got -1"),
        ("keypoints=hand", "keypoints: format 'mpii' has mpii, got 'hand'"),
        ("padding=0.0", "padding, std and input_size: expected positive numbers, got 0.0"),
        ("accumulate=0", "accumulate: expected at least 1, got 0"),
        ("grad_clip=-1.0", "grad_clip: expected 0 .* or a positive norm, got -1.0"),
        ("ema=1.0", "ema: expected 0 .* or a share below 1, got 1.0"),
        ("augment.distribution=flat", "augment.distribution: expected one of normal, uniform, got 'flat'"),
        ("augment.colour_prob=2.0", "augment.colour_prob: expected 0 to 1, got 2.0"),
    ],
)
def test_wrong_settings_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        apply(Config(), parse_assignments([text]))


def test_wrong_files_and_presets_are_named(tmp_path):
    with pytest.raises(ConfigError, match="preset: expected one of hourglass52-mpii-256"):
        preset("resnet")
    with pytest.raises(FileNotFoundError, match="no.toml: configuration file not found"):
        read_toml(tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("lr = = 3")
    with pytest.raises(ConfigError, match="bad.toml: not a TOML file"):
        read_toml(tmp_path / "bad.toml")


def test_log_gets_columns_and_forgets_what_is_done_again(tmp_path):
    path = tmp_path / "log.csv"
    log = RunLog(path)
    log.append({"epoch": 0, "loss": 0.5})
    log.append({"epoch": 1, "loss": 0.25, "PCKh": 50.0})
    log.append({"epoch": 2, "loss": 0.125, "PCKh": 75.5})
    assert path.read_text().splitlines() == ["epoch,loss,PCKh", "0,0.5,", "1,0.25,50", "2,0.125,75.5"]
    with open(path, "a") as file:
        file.write("3,0.0")  # a row that a crash cut off
    again = RunLog(path, first_epoch=2)
    assert [row["epoch"] for row in again.rows] == ["0", "1"]
    again.append({"epoch": 2, "loss": 0.1, "PCKh": 80})
    assert read_log(path) == again.rows and len(again.rows) == 3


def test_curves_are_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [{"epoch": str(i), "loss": str(1 / (i + 1)), "PCKh": "" if i % 2 else str(40 + i)} for i in range(4)]
    assert draw_curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_atomic_write_keeps_the_old_file_when_something_fails(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(path) as file:
        file.write(b"new, but")
        raise RuntimeError("half way")
    assert path.read_text() == "old" and os.listdir(path.parent) == ["file.txt"]
    write_text(path, "newer")
    assert path.read_text() == "newer"


def test_kaiming_is_for_networks_that_have_it():
    with pytest.raises(ConfigError, match="init: model 'hg1' has only 'peer', got 'kaiming'"), torch.device("meta"):
        make_model(apply(preset("hg1-mpii"), {"init": "kaiming"}))
