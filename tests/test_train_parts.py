"""The parts of training that need no network: settings, schedule, log, files."""

import os

import pytest
import torch

from hgfast.demo import run_demo
from hgfast.files import atomic_write, write_text
from hgfast.train import Trainer, evaluate
from hgfast.train.build import make_model, place
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
        ("epochs=1.5", "^epochs must be an int, got float 1.5"),
        ("epochs=" + "1" * 5000, "^epochs must be an int, got str '111"),
        ("epochs=0", "^epochs must be at least 1, got 0"),
        ("epochs=100000000000000000000", "^epochs must be at most 9007199254740992, got 1"),
        ("flip_test=1", "^flip_test must be True or False, got int 1"),
        ("lr=fast", "^lr must be a number, got str 'fast'"),
        ("lr=nan", "^lr must be finite, got nan"),
        ("lr=1" + 400 * "0", "^lr must be finite, got 1000"),
        ("lr=-1", "^lr must be at least 1e-30, got -1"),
        ("sigma=1e-320", "^sigma must be at least 1e-06, got 1e-320"),
        ("padding=nan", "^padding must be finite, got nan"),
        ("padding=0.0", "^padding must be at least 0.001, got 0.0"),
        ("std=[1, 0, 1]", r"^std\[1\] must be at least 1e-06, got 0"),
        ("mean=[1, inf, 1]", r"^mean\[1\] must be finite, got inf"),
        ("mean=3", "^mean must be three numbers, got 3"),
        ("input_size=[1]", "^input_size must have 2 entries, got 1"),
        ("input_size=[64, 40000]", r"^input_size\[1\] must be at most 32766, got 40000"),
        ("milestones=[1, 2.5]", r"^milestones\[1\] must be an int, got float 2.5"),
        (f"milestones={[1] * 101}", "^milestones must have at most 100 entries, got 101"),
        ("amp=int8", "^amp must be one of 'off', 'bf16', 'fp16'; got 'int8'"),
        ("lr", "^--set lr: expected key=value"),
        ("workers=-1", "^workers must be at least 0, got -1"),
        ("seed=-1", "^seed must be at least 0, got -1"),
        ("keypoints=hand", r"^keypoints \(of format 'mpii'\) must be 'mpii'; got 'hand'"),
        ("accumulate=0", "^accumulate must be at least 1, got 0"),
        ("grad_clip=-1.0", "^grad_clip must be at least 0.0, got -1.0"),
        ("grad_clip=inf", "^grad_clip must be finite, got inf"),
        ("ema=1.0", "^ema must be below 1, got 1.0"),
        ("augment=3", "^augment must be a table .*, got int 3"),
        ("augment.distribution=flat", "^augment.distribution must be one of 'normal', 'uniform'; got 'flat'"),
        ("augment.colour_prob=2.0", "^augment.colour_prob must be at most 1, got 2.0"),
        ("augment.rotation=inf", "^augment.rotation must be finite, got inf"),
        ("model_options=3", "^model_options must be a table .*, got int 3"),
        ("model_options.a=2024-01-01", "^model_options.a must be a number, text, list or table, got date"),
        ('output="a\\u0000"', "^output must be text without zero bytes, got"),
        ("output=\udcff", "^output must be Unicode text"),
    ],
)
def test_wrong_settings_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        apply(Config(), parse_assignments([text]))


@pytest.mark.parametrize(
    "changes",
    [
        {"output": 'a "b"\n\t\\ \x7f \x01 \u00e9 \U0001f600', "val_images": "'"},
        {"model_options": {"a b": [1, [2.5, True]], "d": {"e": "f", 'g"': []}, "": -3}},
        {"lr": 1e-30, "milestones": [], "seed": 2**63 - 1, "gamma": 1e-300},
    ],
)
def test_all_that_a_setting_can_be_survives_toml(tmp_path, changes):
    config = apply(Config(), changes)
    write_text(tmp_path / "a.toml", to_toml(config))
    assert apply(Config(), read_toml(tmp_path / "a.toml")) == config


def test_wrong_files_and_presets_are_named(tmp_path):
    with pytest.raises(ConfigError, match="preset: name must be one of hourglass52-mpii-256"):
        preset("resnet")
    with pytest.raises(FileNotFoundError, match="no.toml: configuration file not found"):
        read_toml(tmp_path / "no.toml")
    for content in (b"lr = = 3", b"a = " + b"[" * 100_000, b"a = " + b"1" * 5000, b'a = "\xff"'):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(ConfigError, match="bad.toml: not a TOML file"):
            read_toml(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: preset(["demo"]), TypeError, "preset: name must be a str, got list"),
        (lambda: learning_rate("demo", 0, 0), TypeError, "learning_rate: config must be a Config, got str 'demo'"),
        (lambda: learning_rate(Config(), -1, 0), ValueError, "learning_rate: step must be at least 0, got -1"),
        (lambda: learning_rate(Config(), 0, None), TypeError, "learning_rate: epoch must be an int, got None"),
        (lambda: apply(None, {}), TypeError, "apply: config must be a Config, got None"),
        (lambda: apply(Config(), [1]), TypeError, "apply: changes must be a Mapping, got list"),
        (lambda: Config(lr="x"), ConfigError, "lr must be a number, got str 'x'"),
        (lambda: Config(augment={"scale": 0.1}), ConfigError, "augment must be a table"),
        (lambda: to_toml({}), TypeError, "config must be a Config, got dict"),
        (lambda: parse_assignments("lr=1"), TypeError, "assignments must be texts in a list, got str 'lr=1'"),
        (lambda: parse_assignments([3]), TypeError, r"assignments\[0\] must be a str, got int 3"),
        (lambda: read_toml(3), TypeError, "read_toml: path must be a path, got int 3"),
        (lambda: evaluate(None, None), TypeError, "evaluate: predictor must be a Predictor, got None"),
        (lambda: Trainer({}), TypeError, "Trainer: config must be a Config, got dict"),
        (lambda: Trainer(Config(), resume=1), TypeError, "Trainer: resume must be True or False, got int 1"),
        (lambda: run_demo("d", epochs=0), ValueError, "run_demo: epochs must be at least 1, got 0"),
        (lambda: run_demo("d", seed=1.5), TypeError, "run_demo: seed must be an int, got float 1.5"),
        (lambda: run_demo("d", say=3), TypeError, "run_demo: say must be a function, got int 3"),
        (lambda: run_demo(None), TypeError, "run_demo: output must be a path, got None"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


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
    rows = [{"epoch": str(i), "loss": str(1 / (i + 1)), "PCKh": "" if i % 2 else str(40 + i)} for i in range(4)]
    draw_curves(rows, tmp_path / "curves.png")
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


@pytest.mark.parametrize("implementation", ["fused", "reference"])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_weights_are_in_channels_last_on_a_gpu_only(kind, implementation, monkeypatch):
    model = make_model(apply(preset("demo"), {"implementation": implementation}))
    to = model.to
    monkeypatch.setattr(model, "to", lambda *args, **options: to(**options))  # there may be no GPU
    weight = place(model, torch.device(kind)).backbone.stem[0].conv.weight
    assert weight.is_contiguous() == (kind == "cpu" or implementation == "reference")
