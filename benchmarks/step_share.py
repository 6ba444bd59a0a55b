"""How much of a training step is not the network: `python -m benchmarks.step_share`.

The network gets one core and the loader's process another. The parts of a step are timed one by one: waiting for the
batch, normalising, forward, loss, backward, optimizer; forward and backward are the network (backward has that of the
loss in it). Where other programs use the cores, the processor time of the training thread tells more than the clock, so
both are printed, and the processor time of the loader for a batch.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from statistics import median
from typing import Any

import cv2
import torch
from torch.utils.data import Dataset, get_worker_info

from benchmarks.bench_loader import ours, persons
from hgfast.data import EpochSampler, PoseDataset, make_loader, network_input
from hgfast.train.build import make_model
from hgfast.train.config import Config, apply
from hgfast.train.parallel import World
from hgfast.train.presets import preset
from hgfast.train.step import Batch, TrainingStep

_FILLED = 3  # steps until the loader has nothing in store from the time before


class OnCore(Dataset[dict[str, Any]]):
    """A data set whose loader processes stay on one core."""

    def __init__(self, inner: PoseDataset, core: int) -> None:
        self.inner, self.core = inner, core

    def __getitem__(self, key: Any) -> dict[str, Any]:
        if get_worker_info() is not None:
            os.sched_setaffinity(0, {self.core})
        return self.inner[key]


class Parts:
    """Seconds of the parts of steps, by the clock and of processor time of this thread."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        """Result of a call, which is timed."""
        clock, thread = time.perf_counter(), time.thread_time()
        result = call()
        self.seconds[name].append((time.perf_counter() - clock, time.thread_time() - thread))
        return result

    def medians(self) -> dict[str, tuple[float, float]]:
        """Of every part, the first steps left out."""
        return {name: _median(values[_FILLED:]) for name, values in self.seconds.items()}


def _median(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    clock, thread = zip(*pairs, strict=True)
    return median(clock), median(thread)


def one_step(parts: Parts, step: TrainingStep, stream: Iterator[Batch]) -> None:
    """What the trainer does for a step, part by part."""
    config = step.config
    batch = parts("wait for the batch", lambda: next(stream))
    images = parts("normalise", lambda: network_input(batch["image"], config.mean, config.std))
    parts("clear gradients", lambda: step.optimizer.zero_grad(set_to_none=True))
    stacks = parts("forward", lambda: step.model(images))
    loss = parts("loss", lambda: step.codec.loss(stacks, batch["keypoints"], batch["visible"]))
    parts("backward", loss.backward)
    parts("optimizer", lambda: step.optimizer.step())
    loss.item()


def batches(config: Config, size: int, core: int) -> Iterator[Batch]:
    """Batches without end through one loader process, as the trainer gets them."""
    people = persons() * -(-size * 8 // len(persons()))
    dataset = ours(config.input_size[0])
    dataset.persons, dataset.augment = people, config.augment
    sampler = EpochSampler(len(people), size, shuffle=True)
    loader = make_loader(OnCore(dataset, core), sampler, workers=1)
    for sampler.epoch in count():
        yield from loader


def loader_seconds(config: Config, size: int) -> float:
    """Processor time of a loader process for a batch."""
    dataset = ours(config.input_size[0])
    dataset.augment = config.augment
    cv2.setNumThreads(0)
    started = time.process_time()
    for number in range(len(dataset)):
        dataset[number]
    return (time.process_time() - started) / len(dataset) * size


def measure(config: Config, size: int, steps: int, cores: tuple[int, int]) -> dict[str, tuple[float, float]]:
    """Median seconds of the parts of a step, by the clock and of this thread, on the first of two cores."""
    torch.set_num_threads(1)
    stream = batches(config, size, cores[1])
    next(stream)
    os.sched_setaffinity(0, {cores[0]})
    step = TrainingStep(config, make_model(config).train(), torch.device("cpu"), World())
    parts = Parts()
    for _ in range(steps + _FILLED):
        one_step(parts, step, stream)
    return parts.medians()


def print_table(medians: dict[str, tuple[float, float]]) -> None:
    """Milliseconds and shares of every part."""
    totals = [sum(column) for column in zip(*medians.values(), strict=True)]
    print(f"{'':<22}{'clock, ms':>12}{'':>8}{'thread, ms':>12}")
    for name, seconds in medians.items():
        print(
            f"{name:<22}"
            + "".join(f"{1e3 * s:>12.2f}{100 * s / t:>7.2f}%" for s, t in zip(seconds, totals, strict=True))
        )
    network = [sum(medians[name][i] for name in ("forward", "backward")) for i in range(2)]
    shares = [100 * (1 - n / t) for n, t in zip(network, totals, strict=True)]
    print(f"{'not the network':<22}" + "".join(f"{'':>12}{share:>7.2f}%" for share in shares))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="hourglass52-mpii-256")
    parser.add_argument("--implementation", default="fused", choices=["fused", "reference"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args(arguments)
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        parser.error("needs two cores: one for the network and one for the loader")
    config = apply(preset(options.preset), {"implementation": options.implementation})
    loaded = loader_seconds(config, options.batch)
    medians = measure(config, options.batch, options.steps, (available[0], available[1]))
    print(f"{options.preset}, {options.implementation}, batch of {options.batch}, median of {options.steps} steps")
    print_table(medians)
    print(f"a loader process works {1e3 * loaded:.1f} ms for a batch")


if __name__ == "__main__":
    main()
