"""The loader: training samples from 1280x720 JPEG files on one core, and the batch's normalisation, against MMPose."""

from __future__ import annotations

import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import Call, Case, benchmark_test
from benchmarks.mmpose_pipeline import MMPoseDataset, normalise
from hgfast.data import MPII, Augmentation, EpochSampler, Person, PoseDataset, make_loader, network_input

WIDTH, HEIGHT, PICTURES, BATCH = 1280, 720, 24, 64
FOLDER = tempfile.TemporaryDirectory(prefix="hgfast-bench-")


def picture(rng: np.random.Generator) -> np.ndarray:
    """Structure at all scales: at quality 90 about as many bytes (115 kB) as MPII's pictures of this size (85-107)."""
    total = np.full((HEIGHT, WIDTH, 3), 128, np.float32)
    for cells, strength in ((4, 50), (16, 25), (64, 14), (256, 3), (640, 1)):
        noise = rng.normal(0, strength, (cells * HEIGHT // WIDTH, cells, 3)).astype(np.float32)
        total += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, 0, 255).astype(np.uint8)


@cache
def persons() -> list[Person]:
    """Persons as large in their pictures as those of MMPose's five MPII pictures (scale 1.8 to 4.7)."""
    rng = np.random.default_rng(0)
    people = []
    for number in range(PICTURES):
        path = Path(FOLDER.name) / f"{number}.jpg"
        cv2.imwrite(str(path), picture(rng), [cv2.IMWRITE_JPEG_QUALITY, 90])
        center, side = rng.uniform((400, 250), (880, 470)), 200 * rng.uniform(1.8, 4.7)
        joints = center + rng.uniform(-0.4, 0.4, (MPII.count, 2)) * side
        sides = np.full(2, side, np.float32)
        visible = np.ones(MPII.count, np.float32)
        people.append(Person(path, center.astype(np.float32), sides, joints.astype(np.float32), visible))
    return people


def one_pass(dataset: Dataset[Any]) -> None:
    """Every sample once, in this process, on one thread."""
    cv2.setNumThreads(0)
    for number in range(PICTURES):
        dataset[number]


def ours(size: int, **options: Any) -> PoseDataset:
    """Training samples of hgfast; the trainer has `fast_decode` on."""
    return PoseDataset(persons(), MPII, (size, size), augment=Augmentation(), **options)


def samples(device: str, size: int) -> dict[str, Call]:
    """A worker's work for 24 training samples, from the file to what goes into a batch."""
    cached = ours(size, fast_decode=True, cache_dir=f"{FOLDER.name}/cache-{size}")
    return {
        "hgfast": partial(one_pass, ours(size, fast_decode=True)),
        "MMPose": partial(one_pass, MMPoseDataset(persons(), (size, size))),
        "hgfast, fast_decode off": partial(one_pass, ours(size)),
        "hgfast, cache_dir": partial(one_pass, cached),
    }


def drain(loader: DataLoader[Any]) -> None:
    """One epoch of the loader, nothing done with it."""
    for _batch in loader:
        pass


def one_worker(device: str) -> dict[str, Call]:
    """Six batches of 32 through one loader process: samples, batching, shared memory."""
    people, batch = persons() * 8, 32
    dataset = PoseDataset(people, MPII, (256, 256), augment=Augmentation(), fast_decode=True)
    theirs = DataLoader(
        MMPoseDataset(people, (256, 256)),
        batch_size=batch,
        num_workers=1,
        persistent_workers=True,
        collate_fn=list,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
    )
    return {
        "hgfast": partial(drain, make_loader(dataset, EpochSampler(len(people), batch), workers=1)),
        "MMPose": partial(drain, theirs),
    }


def normalisation(device: str) -> dict[str, Call]:
    """A batch of crops to the network's input, on the device where the crops are."""
    images = torch.randint(0, 256, (BATCH, 256, 256, 3), dtype=torch.uint8, device=device)
    planes = [image.permute(2, 0, 1).contiguous() for image in images]
    return {"hgfast": partial(network_input, images), "MMPose": partial(normalise, planes, device)}


SAMPLE_PEERS = ("hgfast", "MMPose", "hgfast, fast_decode off", "hgfast, cache_dir")
CASES = [
    *(
        Case(f"loader/{PICTURES} samples/1280x720 to {size}", SAMPLE_PEERS, partial(samples, size=size), threads=1,
             devices=("cpu",))
        for size in (256, 384)
    ),
    Case("loader/192 samples through one worker/1280x720 to 256", ("hgfast", "MMPose"), one_worker, threads=1,
         devices=("cpu",)),
    Case(f"loader/normalise/{BATCH}x256x256", ("hgfast", "MMPose"), normalisation, bytes=BATCH * 256 * 256 * 15,
         threads=1),
]  # fmt: skip

test_case = benchmark_test(CASES)
