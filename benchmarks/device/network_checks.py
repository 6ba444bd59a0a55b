"""Jobs of the stages layers and graphs: frozen networks that must be right before anything of them is timed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

import hgfast
from benchmarks.models import network
from benchmarks.networks import ALLOWED, placed

NETWORKS = ("hourglass52", "hg2", "hg8")
BATCHES = (1, 8, 33, 64)
SIDE = 256


@contextmanager
def warnings_of_hgfast() -> Iterator[list[str]]:
    """What hgfast logs within it: kernels that were found wrong, networks that run by PyTorch."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("hgfast")
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)


def draw(batch: int, device: str, seed: int = 0) -> Tensor:
    """Images (batch, 3, SIDE, SIDE) in bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, SIDE, SIDE, generator=generator).to(device, torch.bfloat16)


def frozen(name: str, device: str, **options: Any) -> hgfast.FrozenModel:
    """In bfloat16."""
    return hgfast.freeze(placed(network(name), device), dtype=torch.bfloat16, **options)


def check_layers(device: str, name: str, batch: int) -> dict[str, str]:
    """A plan, whose calls are held against torch as it is made; then all heatmaps against the float32 network's."""
    with warnings_of_hgfast() as told:
        model = frozen(name, device)
        calls = model.describe(batch, SIDE, SIDE).splitlines()[-1]
        images = draw(batch, device)
        ours = model(images)
    errors = [
        float((mine.float() - plain).flatten(1).norm(dim=1).div(plain.flatten(1).norm(dim=1)).max())
        for mine, plain in zip(ours, in_float32(name, device, images), strict=True)
    ]
    note = f"largest error of an image {max(errors):.2g}; {calls}"
    if told:
        return {"status": "wrong", "note": "; ".join(told)[:600]}
    return {"status": "ok" if max(errors) <= ALLOWED["bfloat16"] else "wrong", "note": note}


@torch.inference_mode()
def in_float32(name: str, device: str, images: Tensor) -> list[Tensor]:
    """The plain network's heatmaps of all stacks, eight images at a time."""
    model = placed(network(name), device)
    parts = [model(part.float()) for part in images.split(8)]
    return [torch.cat(stack) for stack in zip(*parts, strict=True)]


def replay_gives_what_launches_give(device: str) -> None:
    """For two batch sizes in turn, twice each."""
    launched, replayed = frozen("hg2", device), frozen("hg2", device, cuda_graph=True)
    for seed, batch in enumerate((1, 8, 1, 8)):
        images = draw(batch, device, seed)
        _same(replayed(images), launched(images), f"batch {batch}")


def earlier_results_stay(device: str) -> None:
    """A call does not write into what an earlier one returned."""
    model = frozen("hg2", device, cuda_graph=True)
    first = model(draw(2, device))
    kept = [heatmaps.clone() for heatmaps in first]
    model(draw(2, device, seed=1))
    _same(first, kept, "after a second call")


def threads_share_a_network(device: str) -> None:
    """Each thread with images and a stream of its own."""
    launched, replayed = frozen("hg2", device), frozen("hg2", device, cuda_graph=True)
    wanted = [launched(draw(2, device, seed)) for seed in range(4)]
    torch.cuda.synchronize()

    def work(seed: int) -> list[list[Tensor]]:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            images = draw(2, device, seed)
            results = [replayed(images) for _ in range(5)]
        stream.synchronize()
        return results

    with ThreadPoolExecutor(4) as pool:
        for seed, results in enumerate(pool.map(work, range(4))):
            for result in results:
                _same(result, wanted[seed], f"thread {seed}")


def callers_may_capture(device: str) -> None:
    """A frozen network inside the caller's own CUDA graph, replayed with other images."""
    model, images = frozen("hg2", device), draw(2, device)
    model(images)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = model(images)
    images.copy_(draw(2, device, seed=1))
    graph.replay()
    _same(results, model(draw(2, device, seed=1)), "replayed")


def another_card_after_the_first(device: str) -> None:
    """On the second card while the first one is current."""
    frozen("hg2", device, cuda_graph=True)(draw(1, device))
    second = "cuda:1"
    replayed, launched = frozen("hg2", second, cuda_graph=True), frozen("hg2", second)
    for seed in (0, 1):
        images = draw(1, second, seed)
        _same(replayed(images), launched(images), second)


def _same(ours: list[Tensor], wanted: list[Tensor], where: str) -> None:
    if not all(torch.equal(a, b) for a, b in zip(ours, wanted, strict=True)):
        raise AssertionError(f"heatmaps differ: {where}")


GRAPH_CHECKS: dict[str, Callable[[str], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        replay_gives_what_launches_give,
        earlier_results_stay,
        threads_share_a_network,
        callers_may_capture,
        another_card_after_the_first,
    )
}


def check_graph(device: str, name: str) -> dict[str, str]:
    """One of GRAPH_CHECKS."""
    check = GRAPH_CHECKS[name]
    if check is another_card_after_the_first and torch.cuda.device_count() < 2:
        return {"status": "absent", "note": "there is one card only"}
    with warnings_of_hgfast() as told:
        check(device)
    return {"status": "wrong" if told else "ok", "note": "; ".join(told)[:600]}
