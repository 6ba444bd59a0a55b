"""What ends a training run from outside: signals to all its processes, a killed loader, a second run, broken input."""

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data._utils import worker as torch_worker

from hgfast.checkpoint import read_checkpoint
from hgfast.cli import main
from hgfast.train import ConfigError, Trainer, TrainingStopped
from hgfast.train.config import apply, to_toml
from hgfast.train.lock import hold
from tests.processes import start
from tests.test_train import (  # noqa: F401 - fixtures
    StopAfter,
    _step,
    config,
    figures,
    same_state,
    trainer_for,
    without_speed,
)

ENDLESS = {"epochs": 10**6, "val_interval": 10**6, "workers": 1, "checkpoint_interval": 10**6}
CLONE_NEWNS = 0x20000  # of Linux's sched.h: os.unshare comes with Python 3.12


def train_in_a_group(method, errors, arguments):
    """`hgfast train` in a process group of its own; what it says of errors goes into a file."""
    os.setpgid(0, 0)
    multiprocessing.set_start_method(method, force=True)
    torch_worker.MP_STATUS_CHECK_INTERVAL = 0.2  # s, not 5: how often a forked loader process looks for its trainer
    sys.stderr = open(errors, "w", buffering=1)
    sys.exit(main(arguments))


def endless_run(settings, tmp_path, method="fork"):
    """A run with a loader process that has done some epochs; the process and the file of its errors."""
    settings = apply(settings, ENDLESS)
    (tmp_path / "run.toml").write_text(to_toml(settings))
    errors = tmp_path / "errors.txt"
    process = start(train_in_a_group, method, errors, ["train", "--config", str(tmp_path / "run.toml"), "--quiet"])
    until(lambda: len(_lines(Path(settings.output) / "log.csv")) > 1 or not process.is_alive())
    return process, errors


def _lines(path):
    return path.read_text().splitlines() if path.exists() else []


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def nobody_left(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("method", "number"), [("fork", signal.SIGTERM), ("forkserver", signal.SIGTERM), ("forkserver", signal.SIGINT)]
)
def test_a_signal_to_all_processes_stops_and_saves(config, tmp_path, method, number):  # noqa: F811
    """As SLURM, systemd and a terminal send it; `timeout` and torchrun send it twice."""
    process, errors = endless_run(config, tmp_path, method)
    os.killpg(process.pid, number)
    with contextlib.suppress(ProcessLookupError):  # on a slow machine it may have ended between the two
        os.killpg(process.pid, number)
    process.join(60)
    (line,) = _lines(errors)
    assert process.exitcode == 130 and line.startswith("hgfast train: stopped at step ")
    assert _step(Path(config.output) / "last.pt") == int(line.split()[5].rstrip(";")) > 0
    until(lambda: nobody_left(process.pid))


def test_a_killed_loader_process_is_told_in_one_line(config, tmp_path):  # noqa: F811
    """As the system does when memory runs out."""
    process, errors = endless_run(config, tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    process.join(60)
    assert process.exitcode == 2
    (line,) = _lines(errors)
    assert line.startswith("hgfast train: error: a loader process was killed (SIGKILL); the system may have run out")
    assert _step(Path(config.output) / "last.pt") > 0


class Dying:
    """A process that has been killed on a busy machine: its files are closed, and it is still there for a moment."""

    def __init__(self, sentinel):
        self.sentinel, self.exitcode = sentinel, None

    def is_alive(self):
        return self.exitcode is None

    def join(self):
        self.exitcode = -signal.SIGKILL


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError])
def test_a_broken_connection_is_the_death_of_the_process_behind_it(config, error):  # noqa: F811
    reading, writing = os.pipe()
    os.close(writing)
    loader = trainer_for(config).loader
    loader._processes = [Dying(reading)]
    with pytest.raises(ChildProcessError, match="killed"), loader._waits():
        raise error
    os.close(reading)


def test_a_loader_process_ends_with_its_trainer(config, tmp_path):  # noqa: F811
    process, _ = endless_run(config, tmp_path)
    process.kill()
    process.join()
    again = trainer_for(apply(config, {"epochs": 1}))  # the lock has gone at once, the loader within seconds
    assert not again.last.exists()
    until(lambda: nobody_left(process.pid))


def test_two_trainings_do_not_share_a_folder(config, tmp_path):  # noqa: F811
    process, _ = endless_run(config, tmp_path)
    before = (Path(config.output) / "config.toml").read_bytes()
    for resume in (False, True):
        with pytest.raises(ConfigError, match="run: another training is writing there; let it end or choose another"):
            trainer_for(config, resume=resume)
    assert (Path(config.output) / "config.toml").read_bytes() == before
    process.terminate()
    process.join(60)
    assert process.exitcode == 130
    trainer_for(apply(config, {"epochs": 1}), resume=True)


def test_a_lock_goes_with_its_last_holder(tmp_path):
    first, second = hold(tmp_path), hold(tmp_path)
    assert first is second and (tmp_path / ".lock").exists()
    with first, pytest.raises(ConfigError, match="another training"), second:
        pass
    assert not (tmp_path / ".lock").exists()
    with hold(tmp_path):
        assert (tmp_path / ".lock").exists()


class Fails(Exception):
    pass


def test_an_epoch_survives_a_failing_validation(config, tmp_path, monkeypatch):  # noqa: F811
    straight = trainer_for(apply(config, {"output": str(tmp_path / "straight"), "ema": 0.5}))
    straight.fit()
    broken = trainer_for(apply(config, {"ema": 0.5}))
    monkeypatch.setattr(broken, "validate", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken.fit()
    assert _step(broken.last) == 4  # a whole epoch
    again = trainer_for(apply(config, {"ema": 0.5}), resume=True)
    steps = []
    average = again.step.averaged
    monkeypatch.setattr(average, "begin", lambda n, begin=average.begin: (steps.append(n), begin(n)))
    assert again.fit() == straight.metrics and steps[0] == 4  # the validation came first
    assert same_state(again.last, straight.last)
    logs = [_lines(trainer.folder / "log.csv") for trainer in (again, straight)]
    assert [line.rsplit(",", 10)[0] for line in logs[0]] and len(logs[0]) == len(logs[1]) == 4


def test_a_stop_is_heard_while_validating(config, monkeypatch):  # noqa: F811
    trainer = trainer_for(config)
    plain = trainer.make_predictor

    def asked_to_stop():
        trainer.stop.asked = True
        return plain()

    monkeypatch.setattr(trainer, "make_predictor", asked_to_stop)
    with pytest.raises(TrainingStopped, match="stopped at step 4"):
        trainer.fit()
    assert trainer_for(config, resume=True).position.batch == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanishes_is_named_and_the_steps_are_kept(config, figures, tmp_path, workers):  # noqa: F811
    folder = tmp_path / "images"
    folder.mkdir()
    for path in (figures / "images").iterdir():
        (folder / path.name).symlink_to(path)
    trainer = trainer_for(apply(config, {"train_images": str(folder), "workers": workers}))
    order = [number for batch in trainer.sampler for _, number in batch]
    trainer.train_set.persons[order[9]].image.unlink()  # in the third batch
    with pytest.raises(FileNotFoundError) as caught:
        trainer.fit()
    assert str(caught.value) == f"{trainer.train_set.persons[order[9]].image}: picture not found"
    assert _step(trainer.last) == 2


def without_heads(figures, tmp_path):  # noqa: F811
    """Annotations of which no head size, and so no PCKh, can be had."""
    persons = json.loads((figures / "val.json").read_text())
    for person in persons:
        person.pop("head_size", None)
        person["joints_vis"][9] = 0
    path = tmp_path / "val.json"
    path.write_text(json.dumps(persons))
    return str(path)


def test_a_measure_that_is_never_a_number_ends_well(config, figures, tmp_path, capsys):  # noqa: F811
    settings = apply(config, {"val_annotations": without_heads(figures, tmp_path), "epochs": 2})
    (tmp_path / "run.toml").write_text(to_toml(settings))
    assert main(["train", "--config", str(tmp_path / "run.toml"), "--quiet"]) == 0
    best, last = (read_checkpoint(Path(settings.output) / name) for name in ("best.pt", "last.pt"))
    assert all((best["state_dict"][name] == value).all() for name, value in last["state_dict"].items())
    assert f"PCKh could not be measured in any validation; the newest weights: {settings.output}/best.pt" in (
        capsys.readouterr().out
    )


def test_resuming_with_fewer_epochs_has_nothing_to_do(config, tmp_path, capsys):  # noqa: F811
    trainer = trainer_for(apply(config, {"val_interval": 3}))
    trainer.loader = StopAfter(trainer, 9)  # in the third epoch
    with pytest.raises(TrainingStopped):
        trainer.fit()
    assert main(["train", "--resume", "--output", config.output, "--set", "epochs=1", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "nothing to do: epochs = 1, and 2 are done" in printed
    assert "going on with other settings than before: epochs 3 -> 1\n" in printed  # all others are the folder's


def test_what_differs_is_told_when_a_run_goes_on(config, tmp_path):  # noqa: F811
    trainer_for(apply(config, {"epochs": 1})).fit()
    said = []
    changed = {"epochs": 1, "lr": 1e-3, "batch_size": 7, "augment": {"rotation": 5.0}}
    Trainer(apply(config, changed), resume=True, quiet=True, say=said.append)
    assert said == [
        "going on with other settings than before: batch_size 4 -> 7, lr 0.002 -> 0.001, augment.rotation 30.0 -> 5.0"
    ]
    wider = apply(config, {"model_options": {"stem_channels": [16, 16]}})
    with pytest.raises(ConfigError) as caught:
        trainer_for(wider, resume=True)
    assert "another network than these settings (model_options.stem_channels [8, 16] -> [16, 16]): " in str(
        caught.value
    )
    assert " is (8, 3, 7, 7) there and (16, 3, 7, 7) here, and " in str(caught.value)


def test_half_precision_may_begin_and_end_when_a_run_goes_on(config):  # noqa: F811
    for epochs, amp in ((1, "off"), (2, "fp16"), (3, "off")):
        trainer_for(apply(config, {"epochs": epochs, "amp": amp, "input_size": [32, 32]}), resume=True).fit()


def train_with_little_space(size, folder, errors, arguments):
    """`hgfast train` where a folder holds few bytes, in mounts of its own; 77 where nobody may mount."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    multiprocessing.set_start_method("fork", force=True)
    os.makedirs(folder, exist_ok=True)
    mount = f"mount --make-rprivate / && mount -t tmpfs -o size={size} none {folder}"
    if (
        ctypes.CDLL(None).unshare(CLONE_NEWNS)
        or subprocess.run(mount, shell=True, stderr=subprocess.DEVNULL).returncode
    ):
        os._exit(77)
    sys.exit(main(arguments))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("place", ["shm", "disk"])
def test_no_space_is_told_in_one_line(config, tmp_path, place):  # noqa: F811
    """Shared memory of 128 kB, a disk of 256 kB (a state has more)."""
    settings = apply(config, {"workers": 1, "batch_size": 14} if place == "shm" else {"output": str(tmp_path / "disk")})
    (tmp_path / "run.toml").write_text(to_toml(settings))
    size, folder = ("128k", "/dev/shm") if place == "shm" else ("256k", str(tmp_path / "disk"))
    errors, arguments = tmp_path / "errors.txt", ["train", "--quiet", "--config", str(tmp_path / "run.toml")]
    process = start(train_with_little_space, size, folder, errors, arguments)
    process.join(120)
    if process.exitcode == 77:
        pytest.skip("no right to mount")
    (line,) = _lines(errors)
    assert process.exitcode == 2
    assert "no space left in shared memory" in line or f"No space left on device: '{folder}" in line
    assert place == "shm" or f"'{folder}/last.pt'" in line
