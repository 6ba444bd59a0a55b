"""The stored runs of the peers' networks (tests/data), their arrays brought to the layout of hgfast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hgfast import models
from hgfast.reference.losses import keypoint_mse, stack_mse

DATA = Path(__file__).parent / "data"
NOISE = 20.0  # allowed error, in units of the peer's own float32 error


def reduced(num_stacks: int, channels: tuple[int, ...], counts: tuple[int, ...]) -> Callable[..., nn.Module]:
    def make(implementation: str) -> nn.Module:
        return models.HourglassPose(16, num_stacks, 4, channels, counts, 16, (8, 16), implementation)

    return make


def princeton(implementation: str) -> nn.Module:
    return models.StackedHourglass(2, 16, implementation=implementation)


MAKERS = {
    "mmpose_hg_reduced_1stack": reduced(1, (16, 16, 8, 12, 24), (1, 2, 2, 2, 4)),
    "mmpose_hg_reduced_2stack": reduced(2, (16, 8, 8, 12, 12), (1, 1, 2, 1, 2)),
    "princeton_posenet_2stack": princeton,
}


@dataclass
class Golden:
    """One file of vectors, its arrays brought to the layout of hgfast."""

    name: str
    arrays: dict[str, np.ndarray]

    @property
    def is_princeton(self) -> bool:
        return self.name.startswith("princeton")

    @property
    def seed(self) -> int:
        return int(self.arrays["seed"][0])

    def images(self, key: str) -> Tensor:
        array = torch.from_numpy(self.arrays[key])
        return array.permute(0, 3, 1, 2) if self.is_princeton else array

    def heatmaps(self, prefix: str) -> Tensor:
        """Stored heatmaps, (N, S, K, h, w)."""
        if self.is_princeton:
            return torch.from_numpy(self.arrays[f"{prefix}_out"])
        stacks = range(len(self.arrays["train_loss_per_stack"]))
        return torch.stack([torch.from_numpy(self.arrays[f"{prefix}_hm{s}"]) for s in stacks], 1)

    def tensors(self, group: str) -> dict[str, Tensor]:
        """All tensors stored as ``<group>/<name>``."""
        return {
            key.removeprefix(f"{group}/"): torch.from_numpy(value)
            for key, value in self.arrays.items()
            if key.startswith(f"{group}/")
        }

    def loss(self, heatmaps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The trained loss and its stored parts: per stack, or per sample and stack."""
        target = torch.from_numpy(self.arrays["train_target"]).to(heatmaps[0])
        if self.is_princeton:
            parts = stack_mse(torch.stack(heatmaps, 1), target)
            return parts.mean(), parts
        weight = torch.from_numpy(self.arrays["train_target_weight"]).to(target)
        parts = torch.stack([keypoint_mse(heatmap, target, weight) for heatmap in heatmaps])
        return parts.sum(), parts


def load_golden(name: str) -> Golden:
    """The vectors of one of MAKERS."""
    with np.load(DATA / f"{name}.npz") as arrays:
        return Golden(name, dict(arrays))


def full_width_golden() -> tuple[dict[str, np.ndarray], Tensor]:
    """hourglass52 of 256x256: the stored arrays, and the images, which are drawn from the seed."""
    with np.load(DATA / "mmpose_hg52_full.npz") as arrays:
        golden = dict(arrays)
    seed = int(golden["seed"][0])
    images = np.random.RandomState(seed + 100).standard_normal(golden["x0_shape"]).astype(np.float32)
    np.testing.assert_array_equal(images.ravel()[:8], golden["x0_first8"])
    return golden, torch.from_numpy(images)


def assert_within(actual: Tensor, expected: Tensor, floor: float, what: str) -> None:
    """Largest difference at most NOISE times the peer's own."""
    error = float((actual - expected).abs().max())
    assert error <= NOISE * floor, f"{what}: error {error:.3g}, allowed {NOISE} x {floor:.3g}"
