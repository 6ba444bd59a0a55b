"""Two processes under torchrun: averaged gradients, averaged statistics, one log, one result."""

import contextlib
import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hgfast.checkpoint import read_checkpoint
from hgfast.cli import main
from hgfast.data import EpochSampler, make_loader
from hgfast.data.synthetic import write_set
from hgfast.train import Trainer, preset
from hgfast.train.config import apply, to_toml
from hgfast.train.log import read_log
from hgfast.train.parallel import World, leave
from hgfast.train.schedule import learning_rate
from hgfast.train.step import trainable
from tests.processes import PACKAGE_FOLDER, meet, run_pair
from tests.test_train import SMALL

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")


@pytest.fixture
def config(tmp_path):
    for name, count, seed in (("train", 8, 1), ("val", 5, 2)):
        write_set(tmp_path, count, seed, name)
    paths = {f"{part}_annotations": str(tmp_path / f"{part}.json") for part in ("train", "val")}
    paths |= {f"{part}_images": str(tmp_path / "images") for part in ("train", "val")}
    return apply(preset("demo"), SMALL | paths | {"epochs": 1, "output": str(tmp_path / "run")})


TRAIN = """
import atexit, glob, os, runpy, sys
sys.path.insert(0, os.getcwd())

def gloo_threads():
    return sum("gloo" in open(name).read() for name in glob.glob("/proc/self/task/*/comm"))

@atexit.register  # before the hook of join, so that it is called after it
def check():
    if gloo_threads():
        print(gloo_threads(), "threads are left", file=sys.stderr, flush=True)
        os._exit(1)

from hgfast.train import parallel
wrap = parallel.World.wrap

def wrap_and_look(world, model):
    assert gloo_threads() or not os.path.isdir("/proc/self/task")
    return wrap(world, model)

parallel.World.wrap = wrap_and_look
runpy.run_module("hgfast", run_name="__main__", alter_sys=True)
"""


def torchrun(config, tmp_path):
    """`hgfast train` in two processes; a thread of the process group outlives neither.

    It might touch Python while that shuts down: SIGABRT in one of ten runs.
    """
    path, script = tmp_path / "run.toml", tmp_path / "train.py"
    path.write_text(to_toml(config))
    script.write_text(TRAIN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    command += ["train", "--config", str(path), "--quiet"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE_FOLDER, env=os.environ, timeout=300)
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def test_two_processes_make_the_step_of_the_mean_gradient(config, tmp_path):
    """Gradients are compared, to the rounding of their sums, which changes with the number of threads.

    Weights cannot be: Adam's first step goes by the gradient's sign, and some gradients are nearly zero. So the step
    is checked against the formula at the gradients that were found.
    """
    output = torchrun(config, tmp_path)
    assert output.count("epoch 1/1") == 1  # only one of them talks
    got = read_checkpoint(Path(config.output) / "last.pt")
    model, gradients, loss = mean_gradient(apply(config, {"output": str(tmp_path / "alone")}))
    rate = learning_rate(config, 0, 0)
    for number, (name, gradient) in enumerate(gradients.items()):
        found = got["optimizer"]["state"][number]["exp_avg"].double() / 0.1
        torch.testing.assert_close(found, gradient.double(), rtol=0, atol=1e-4 * float(gradient.abs().max()), msg=name)
        step = rate * found / (found.abs() + 1e-8)
        expected = model.get_parameter(name).detach().double() - step
        torch.testing.assert_close(got["state_dict"][name].double(), expected, rtol=2e-7, atol=1e-4 * rate, msg=name)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(got["state_dict"][name], buffer, rtol=1e-5, atol=1e-6, msg=name)
    (row,) = read_log(Path(config.output) / "log.csv")
    assert float(row["loss"]) == pytest.approx(loss, rel=1e-4)
    assert got["position"]["step"] == 1  # 8 samples: 2 processes x 4


def mean_gradient(config):
    """The network with its first weights and the mean statistics, the mean gradients by name, and the mean loss."""
    trainer = Trainer(config, quiet=True)
    twins = [copy.deepcopy(trainer.model).train() for _ in range(2)]
    losses = []
    for rank, twin in enumerate(twins):
        sampler = EpochSampler(8, config.batch_size, shuffle=True, seed=config.seed, rank=rank, world=2)
        (batch,) = list(make_loader(trainer.train_set, sampler))
        trainer.step.model = twin
        trainer.step.optimizer = torch.optim.SGD(trainable(twin), lr=0.0)
        losses.append(float(trainer.step([batch], 0.0)))
    pairs = zip(*(twin.named_parameters() for twin in twins), strict=True)
    gradients = {name: (a.grad + b.grad) / 2 for (name, a), (_, b) in pairs if a.requires_grad}
    for buffer, a, b in zip(trainer.model.buffers(), twins[0].buffers(), twins[1].buffers(), strict=True):
        buffer.copy_((a + b) / 2)
    return trainer.model, gradients, sum(losses) / 2


def train(rank, folder, config):
    """In one of a pair: a run in one go, one that stops after its first epoch and goes on, and a measurement."""
    meet(rank, f"{folder}/meeting")
    other = apply(config, {"output": f"{folder}/other"})
    for settings, resume in ((config, False), (apply(other, {"epochs": 1}), False), (other, True)):
        Trainer(settings, resume=resume, quiet=True, say=lambda _: None).fit()
    with open(f"{folder}/printed{rank}", "w") as printed, contextlib.redirect_stdout(printed):
        assert main(["eval", f"{config.output}/best.pt", "--json", f"{folder}/measured.json", "--quiet"]) == 0
    leave()


def test_resumed_run_is_the_same_and_validation_is_complete(config, tmp_path):
    config = apply(config, {"epochs": 2})
    run_pair(train, str(tmp_path), config)
    straight = read_checkpoint(Path(config.output) / "last.pt")
    resumed = read_checkpoint(tmp_path / "other" / "last.pt")
    assert all(torch.equal(resumed["state_dict"][k], v) for k, v in straight["state_dict"].items())
    assert resumed["meta"]["metrics"] == straight["meta"]["metrics"]
    alone = Trainer(config, resume=True, quiet=True)  # one process measures what two have measured together
    assert alone.validate() == pytest.approx(straight["meta"]["metrics"])
    best = read_checkpoint(Path(config.output) / "best.pt")["meta"]["metrics"]
    assert json.loads((tmp_path / "measured.json").read_text()) == pytest.approx(best)
    printed = [(tmp_path / f"printed{rank}").read_text() for rank in range(2)]
    assert printed[0].count("5 persons of") == 1 and not printed[1]


def test_shares_cover_everything():
    for count, batch, world in ((10, 2, 3), (7, 4, 2), (3, 4, 4), (12, 3, 2)):
        samplers = [EpochSampler(count, batch, shuffle=True, seed=5, rank=rank, world=world) for rank in range(world)]
        batches = [list(sampler) for sampler in samplers]
        assert len({tuple(map(len, share)) for share in batches}) == 1  # same numbers of batches, of the same sizes
        assert all(len(sampler) == len(share) for sampler, share in zip(samplers, batches, strict=True))
        assert {number for share in batches for part in share for _, number in part} == set(range(count))


def test_a_process_alone_needs_no_others():
    world = World.join("cpu")
    assert world == World() and world.is_main and world.highest(1) == 1
    assert world.mean(2.5, torch.device("cpu")) == 2.5
