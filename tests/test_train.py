"""Training: it learns, it goes on exactly where it stopped, it survives being killed, it stops at nonsense."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from hgfast.checkpoint import read_checkpoint
from hgfast.cli import main
from hgfast.data.synthetic import write_set
from hgfast.train import ConfigError, Trainer, TrainingError, TrainingStopped, preset
from hgfast.train.config import apply, to_toml
from hgfast.train.log import read_log
from hgfast.train.state import stored_config
from hgfast.train.step import trainable
from tests.processes import start

SMALL = {
    "model_options": {
        "downsample_times": 1,
        "stem_channels": [8, 16],
        "stage_channels": [16, 16],
        "stage_blocks": [1, 1],
        "feat_channel": 16,
    },
    "input_size": [64, 64],
    "epochs": 3,
    "batch_size": 4,
    "val_batch_size": 8,
    "warmup_steps": 3,
    "milestones": [2],
    "device": "cpu",
}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    write_set(folder, 14, 1, "train")
    write_set(folder, 4, 2, "val")
    return folder


def settings_for(figures, output):
    paths = {f"{part}_annotations": str(figures / f"{part}.json") for part in ("train", "val")}
    paths |= {f"{part}_images": str(figures / "images") for part in ("train", "val")}
    return apply(preset("demo"), SMALL | paths | {"output": str(output)})


@pytest.fixture
def config(figures, tmp_path):
    return settings_for(figures, tmp_path / "run")


@pytest.fixture(scope="module")
def straight(figures, tmp_path_factory):
    """The run of `config` in one go, which has ended."""
    trainer = trainer_for(settings_for(figures, tmp_path_factory.mktemp("straight") / "run"))
    trainer.fit()
    return trainer


def trainer_for(config, **options):
    return Trainer(config, quiet=True, say=lambda _: None, **options)


def same_state(a: Path, b: Path) -> bool:
    one, two = read_checkpoint(a), read_checkpoint(b)
    return all(_equal(one[part], two[part]) for part in ("state_dict", "optimizer", "scaler", "averaged"))


def _equal(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a == b


def without_speed(rows):
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]


class StopAfter:
    """A loader that asks the trainer to stop during a certain step, as a signal would."""

    def __init__(self, trainer, step):
        self.trainer, self.step, self.loader, self.asked = trainer, step, trainer.loader, False

    def __iter__(self):
        for batch in self.loader:
            if self.trainer.position.step + 1 == self.step and not self.asked:
                self.asked = True  # a second signal would end the process
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    def __len__(self):
        return len(self.loader)


def losses_of(trainer):
    return [float(row["loss"]) for row in read_log(trainer.folder / "log.csv")]


def test_a_run_leaves_its_files_and_learns(straight):
    rows = read_log(straight.folder / "log.csv")
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert [float(row["lr"]) for row in rows] == pytest.approx([2e-3, 2e-3, 2e-4])
    names = {"best.pt", "config.toml", "last.pt", "log.csv", "curves.png"}
    assert {path.name for path in straight.folder.iterdir()} == names
    assert "PCKh" in straight.metrics
    assert stored_config(read_checkpoint(straight.folder / "best.pt"), "best.pt") == straight.config


@pytest.mark.parametrize("stop_at", [2, 4, 7])
def test_resuming_is_bit_exact(config, straight, stop_at):
    """4 steps an epoch: stopped in the middle of an epoch, at its end, and in a later one."""
    first = trainer_for(config)
    first.loader = StopAfter(first, stop_at)
    with pytest.raises(TrainingStopped, match=f"stopped at step {stop_at}"):
        first.fit()
    torch.manual_seed(99)
    second = trainer_for(config, resume=True)
    assert second.position.step == stop_at
    assert second.fit() == straight.metrics
    assert same_state(second.folder / "last.pt", straight.folder / "last.pt")
    assert _equal(read_checkpoint(second.folder / "best.pt"), read_checkpoint(straight.folder / "best.pt") | {
        "meta": read_checkpoint(second.folder / "best.pt")["meta"]
    })  # fmt: skip
    assert without_speed(read_log(second.folder / "log.csv")) == without_speed(read_log(straight.folder / "log.csv"))


def test_killed_run_resumes_bit_exactly(config, straight, tmp_path):
    """kill -9 at any moment, twice: what is on the disk is whole and leads to the same end."""
    config = apply(config, {"checkpoint_steps": 1})
    path = tmp_path / "run.toml"
    path.write_text(to_toml(config))
    command = ["train", "--config", str(path), "--resume", "--quiet"]
    last = Path(config.output) / "last.pt"
    ends = []
    for wanted in (1, 6):
        process = start(main, command)
        deadline = time.monotonic() + 120
        while _step(last) < wanted and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.join()
        ends.append(process.exitcode)
    assert -signal.SIGKILL in ends and _step(last) >= 6  # the last one may be done before it is killed
    process = start(main, command)
    process.join(120)
    assert process.exitcode == 0
    assert same_state(last, straight.folder / "last.pt")
    assert without_speed(read_log(last.parent / "log.csv")) == without_speed(read_log(straight.folder / "log.csv"))


def _step(path: Path) -> int:
    return read_checkpoint(path)["position"]["step"] if path.exists() else 0


def test_workers_do_not_change_the_result(config, tmp_path):
    config = apply(config, {"epochs": 1})
    plain, parallel = trainer_for(config), trainer_for(apply(config, {"output": str(tmp_path / "w"), "workers": 2}))
    plain.fit(), parallel.fit()
    assert same_state(plain.folder / "last.pt", parallel.folder / "last.pt")


def test_fused_and_reference_train_alike(config, straight):
    trainer = trainer_for(apply(config, {"implementation": "reference"}))
    trainer.fit()
    assert straight.config.implementation == "fused"
    # From MMPose's small start Adam steps along rounding errors; tests/test_train_parity.py starts from larger weights.
    assert losses_of(straight) == pytest.approx(losses_of(trainer), rel=3e-2)


def test_folder_with_a_run_is_not_overwritten(config):
    trainer_for(apply(config, {"epochs": 1})).fit()
    with pytest.raises(ConfigError, match="already holds a training run"):
        trainer_for(config)


def test_nonsense_loss_stops_and_keeps_the_last_good_checkpoint(config):
    trainer = trainer_for(apply(config, {"epochs": 1}))
    trainer.fit()
    good = (trainer.folder / "last.pt").read_bytes()
    again = trainer_for(config, resume=True)
    with torch.no_grad():
        next(again.model.parameters()).mul_(float("nan"))
    with pytest.raises(TrainingError, match=r"the loss is nan at step 5, epoch 2 .* last good checkpoint is .*last.pt"):
        again.fit()
    assert (trainer.folder / "last.pt").read_bytes() == good


def test_nonsense_weights_are_never_saved(config):
    trainer = trainer_for(config)
    with torch.no_grad():
        list(trainer.model.buffers())[0].fill_(float("inf"))
    with pytest.raises(TrainingError, match="a weight is not finite at step 0, epoch 1 .* there is no checkpoint yet"):
        trainer._save_last()
    assert not (trainer.folder / "last.pt").exists()


def test_unused_weights_are_left_alone(config):
    trainer = trainer_for(apply(config, {"epochs": 1}))
    unused = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if not p.requires_grad}
    assert unused and all(name.startswith("backbone.inters.0.") for name in unused)
    assert len(trainable(trainer.model)) == len(list(trainer.model.parameters())) - len(unused)
    trainer.fit()
    state = read_checkpoint(trainer.folder / "last.pt")["state_dict"]
    assert all(torch.equal(state[name], value) for name, value in unused.items())


def test_all_other_weights_are_trained(config):
    trainer = trainer_for(apply(config, {"epochs": 1}))
    before = [p.detach().clone() for p in trainable(trainer.model)]
    trainer.fit()
    assert all(not torch.equal(old, new) for old, new in zip(before, trainable(trainer.model), strict=True))


@pytest.mark.parametrize("amp", ["bf16"])
def test_half_precision(config, amp):
    trainer = trainer_for(apply(config, {"amp": amp}))
    trainer.fit()
    losses = losses_of(trainer)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet"}, "model 'resnet'"),
        ({"model_options": {"depth": 3}}, "model 'hourglass52'.*depth"),
        ({"device": "cuda:99"}, "device: cannot use 'cuda:99'"),
        ({"monitor": "AP"}, "monitor: expected one of head, .* for mpii, got 'AP'"),
    ],
)
def test_wrong_settings(config, change, message):
    with pytest.raises(ConfigError, match=message):
        trainer_for(apply(config, {"epochs": 1} | change)).fit()


def test_missing_picture_is_named(config, figures, tmp_path):
    config = dataclasses.replace(config, train_images=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"train_000\d\d.jpg: picture not found"):
        trainer_for(config).fit()
