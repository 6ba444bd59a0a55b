"""The measurement of a training step's parts runs, and its parts are those of the trainer's step."""

import os

import pytest
import torch

from benchmarks.step_share import Parts, main, one_step
from hgfast.data import EpochSampler, make_loader
from hgfast.train.build import make_dataset, make_model
from hgfast.train.config import apply
from hgfast.train.parallel import World
from hgfast.train.step import TrainingStep
from tests.test_train import config, figures  # noqa: F401 - fixtures


def test_its_parts_are_the_trainers_step(config):  # noqa: F811
    settings = apply(config, {"lr": 1e-3})
    dataset = make_dataset(settings, "train")
    batches = list(make_loader(dataset, EpochSampler(len(dataset), 4)))[:2]
    steps = [TrainingStep(settings, make_model(settings).train(), torch.device("cpu"), World()) for _ in range(2)]
    stream, parts = iter(batches), Parts()
    for batch in batches:
        steps[0]([batch], settings.lr)
        one_step(parts, steps[1], stream)
    for a, b in zip(steps[0].model.parameters(), steps[1].model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(len(seconds) == 2 for seconds in parts.seconds.values())


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_it_runs_on_two_cores(capsys):
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    try:
        main(["--preset", "demo", "--batch", "2", "--steps", "2"])
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    names = ("wait", "normalise", "clear", "forward", "loss", "backward", "optimizer", "not the network", "a loader")
    assert all(line.startswith(name) for line, name in zip(lines[2:], names, strict=True))
