"""Two Gloo processes against one: the doubled batch, an interrupted epoch, and what a weight without gradient does.

One pair of processes runs all of it; each test looks at its part.
"""

import traceback

import pytest
import torch
import torch.distributed as dist
from torch import nn

from hgfast.data import EpochSampler, make_loader
from hgfast.data.synthetic import write_set
from hgfast.train import Trainer, TrainingError, preset
from hgfast.train.build import make_dataset, make_model
from hgfast.train.config import apply
from hgfast.train.log import read_log
from hgfast.train.parallel import World, leave
from hgfast.train.state import read_state
from hgfast.train.step import TrainingStep, trainable
from tests.processes import meet, run_pair
from tests.test_train import SMALL, same_state, without_speed

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
CPU = torch.device("cpu")
RATE = 0.01


def frozen_model(config):
    """BatchNorm at the statistics of some noise, so that batches may be cut anywhere."""
    torch.manual_seed(1)
    model = make_model(config).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(8, 3, 64, 64))
    for norm in norms:
        norm.eval()
    return model


def frozen_steps(config, world, batch_size, accumulate=1):
    """State dict and losses after an epoch of SGD."""
    model = frozen_model(config)
    step = TrainingStep(config, model, CPU, world)
    step.optimizer = torch.optim.SGD(trainable(model), lr=0.0, momentum=0.9)
    dataset = make_dataset(config, "train")
    sampler = EpochSampler(len(dataset), batch_size, True, config.seed, world.rank, world.size)
    batches = list(make_loader(dataset, sampler))
    groups = [batches[first : first + accumulate] for first in range(0, len(batches), accumulate)]
    losses = [float(step(group, RATE)) for group in groups]
    return model.state_dict(), losses


class Interrupted(Exception):
    pass


class StopsBefore:
    """A loader that fails before a certain batch, as a machine might."""

    def __init__(self, loader, batch):
        self.loader, self.batch = loader, batch

    def __iter__(self):
        for number, batch in enumerate(self.loader):
            if number == self.batch:
                raise Interrupted
            yield batch

    def __len__(self):
        return len(self.loader)


def interrupted_and_resumed(config, folder):
    """A run in one go, and one that loses its processes in the middle of the second epoch."""
    Trainer(apply(config, {"output": f"{folder}/straight"}), quiet=True).fit()
    parts = apply(config, {"output": f"{folder}/parts"})
    Trainer(apply(parts, {"epochs": 1}), quiet=True).fit()
    broken = Trainer(parts, resume=True, quiet=True)
    broken.loader = StopsBefore(broken.loader, 2)
    try:
        broken.fit()
    except Interrupted:
        Trainer(parts, resume=True, quiet=True).fit()


class Loses(StopsBefore):
    """A loader whose picture is gone."""

    def __iter__(self):
        try:
            yield from super().__iter__()
        except Interrupted:
            raise FileNotFoundError("a.jpg: picture not found") from None


def one_loader_fails(config, world, folder):
    """What both processes say where the second one's loader fails, and the step that was saved."""
    lines = []
    settings = apply(config, {"output": f"{folder}/failed", "checkpoint_steps": 0})
    trainer = Trainer(settings, quiet=True, say=lines.append)
    if world.rank == 1:
        trainer.loader = Loses(trainer.loader, 2)
    try:
        trainer.fit()
    except (OSError, TrainingError) as error:
        dist.barrier()  # the first process writes
        return str(error), lines, read_state(trainer.last)["position"]["step"]
    return None


def error_of_unused_weights(config, world):
    """The error of DistributedDataParallel where the weights that never run were left trainable."""
    model = make_model(config).train().requires_grad_(True)
    step = TrainingStep(config, model, CPU, world)
    dataset = make_dataset(config, "train")
    batch = next(iter(make_loader(dataset, EpochSampler(len(dataset), 2, rank=world.rank, world=world.size))))
    try:
        for _ in range(2):
            step([batch], 1e-4)
    except RuntimeError as error:
        return str(error)
    return ""


def work(rank, folder, config):
    meet(rank, f"{folder}/meeting")
    world = World.join("cpu")
    found = {"world": (world.rank, world.size)}
    try:
        found["frozen"] = frozen_steps(config, world, 2)
        found["accumulated"] = frozen_steps(config, world, 1, accumulate=2)
        interrupted_and_resumed(config, folder)
        found["failed"] = one_loader_fails(config, world, folder)
        found["unused"] = error_of_unused_weights(config, world)
    except Exception:
        found["error"] = traceback.format_exc()
    torch.save(found, f"{folder}/rank{rank}.pt")
    leave()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Configuration, folder, and what each of the two processes found."""
    folder = tmp_path_factory.mktemp("pair")
    for name, count, seed in (("train", 12, 1), ("val", 3, 2)):
        write_set(folder, count, seed, name)
    paths = {f"{part}_annotations": f"{folder}/{part}.json" for part in ("train", "val")}
    paths |= {f"{part}_images": f"{folder}/images" for part in ("train", "val")}
    config = apply(preset("demo"), SMALL | paths | {"epochs": 2, "batch_size": 2, "checkpoint_steps": 1, "ema": 0.8})
    run_pair(work, str(folder), config)
    found = [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]
    assert not any("error" in one for one in found), found[0].get("error", "") + found[1].get("error", "")
    return config, folder, found


@pytest.mark.parametrize("way", ["frozen", "accumulated"])
def test_two_processes_train_as_one_with_the_doubled_batch(pair, way):
    config, _, found = pair
    assert [one["world"] for one in found] == [(0, 2), (1, 2)]
    state, losses = frozen_steps(config, World(), 4)
    start = frozen_model(config).state_dict()
    for name, value in state.items():
        (a, _), (b, _) = (one[way] for one in found)
        assert torch.equal(a[name], b[name]), name
        torch.testing.assert_close(a[name], value, rtol=1e-4, atol=1e-6, msg=name)
    changed = [name for name, value in state.items() if not torch.equal(value, start[name])]
    assert len(changed) == len(trainable(make_model(config)))
    pairs = zip(*(one[way][1] for one in found), strict=True)
    assert [(a + b) / 2 for a, b in pairs] == pytest.approx(losses, rel=1e-5)
    assert len(losses) == 3 and losses[2] != pytest.approx(losses[0], rel=1e-3)


def test_an_interrupted_epoch_goes_on_bit_for_bit(pair):
    """Also the statistics of the process that does not write: until the end of an epoch they are its own."""
    _, folder, _ = pair
    assert same_state(folder / "straight" / "last.pt", folder / "parts" / "last.pt")
    straight, parts = (without_speed(read_log(folder / name / "log.csv")) for name in ("straight", "parts"))
    assert straight == parts and len(parts) == 2


def test_what_was_trained_is_saved_where_one_of_the_loaders_fails(pair):
    """The others wait for it in the midst of a step otherwise, and nothing is saved."""
    _, folder, found = pair
    first, second = (one["failed"] for one in found)
    assert first == (
        "another process could not go on, and says why",
        [f"saved after step 2: {folder}/failed has the state to go on from"],
        2,
    )
    assert second == ("a.jpg: picture not found", [], 2)


def test_unused_weights_must_not_ask_for_gradients(pair):
    """Why hgfast's networks switch them off: stock MMPose 1.x fails in the second step of hourglass52."""
    _, _, found = pair
    assert all("parameters that were not used in producing loss" in one["unused"] for one in found)
