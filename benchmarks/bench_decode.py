"""Decoding (64, 16, 64, 64) heatmaps against MMPose's loops, compiled expressions, and one read of the maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks import mmpose_decode
from benchmarks.harness import Call, Case, benchmark_test
from benchmarks.mmpose_decode import Array
from hgfast.ops import decode_flip, decode_heatmaps, gaussian_heatmaps

N, K, SIZE = 64, 16, 64
PAIRS = [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]  # MPII's left and right
MAPS = 4 * N * K * SIZE * SIZE


def heatmaps(device: str) -> Tensor:
    """What a network gives: a Gaussian each, and noise."""
    generator = torch.Generator().manual_seed(0)
    keypoints = 4 + torch.rand(N, K, 2, generator=generator) * (SIZE - 8)
    maps, _ = gaussian_heatmaps(keypoints, torch.ones(N, K), (SIZE, SIZE), 2.0, "unbiased")
    return (maps + 0.02 * torch.rand(maps.shape, generator=generator)).to(device)


def eager_quarter(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The quarter-pixel rule as a tensor expression."""
    n, k, h, w = maps.shape
    flat = maps.flatten(2)
    scores, index = flat.max(-1)
    x, y = index % w, index // w

    def at(dx: int, dy: int) -> Tensor:
        place = (y + dy).clamp(0, h - 1) * w + (x + dx).clamp(0, w - 1)
        return flat.gather(-1, place[..., None])[..., 0]

    right = (x > 1) & (x < w - 1) & (y > 0) & (y < h)
    down = (y > 1) & (y < h - 1) & (x > 0) & (x < w)
    dx = torch.sign(at(1, 0) - at(-1, 0)) * 0.25 * right
    dy = torch.sign(at(0, 1) - at(0, -1)) * 0.25 * down
    points = torch.stack((x + dx, y + dy), -1)
    return torch.where((scores > 0)[..., None], points, -torch.ones_like(points)), scores


def quarter(device: str) -> dict[str, Call]:
    """The quarter-pixel rule."""
    maps = heatmaps(device)
    return {
        "hgfast": partial(decode_heatmaps, maps, "quarter"),
        "eager": partial(eager_quarter, maps),
        "torch.compile": partial(torch.compile(eager_quarter), maps),
        "MMPose (with the transfer)": lambda: mmpose_decode.decode_quarter(maps.cpu().numpy()),
        "yardstick: one read, x.sum()": maps.sum,
    }


def dark(device: str) -> dict[str, Call]:
    """DARK with a blur of 11."""
    maps = heatmaps(device)
    return {
        "hgfast": partial(decode_heatmaps, maps, "dark"),
        "MMPose (with the transfer)": lambda: mmpose_decode.decode_dark(maps.cpu().numpy()),
        "yardstick: one read, x.sum()": maps.sum,
    }


def eager_soft(maps: Tensor) -> Tensor:
    """The mean position under a softmax, as integral regression writes it."""
    h, w = maps.shape[-2:]
    weights = maps.flatten(2).softmax(-1).view_as(maps)
    x, y = torch.arange(w, device=maps.device), torch.arange(h, device=maps.device)
    return torch.stack(((weights.sum(-2) * x).sum(-1), (weights.sum(-1) * y).sum(-1)), -1)


def soft(device: str) -> dict[str, Call]:
    """Soft-argmax over the whole map."""
    maps = heatmaps(device)
    return {
        "hgfast": partial(decode_heatmaps, maps, "soft"),
        "eager": partial(eager_soft, maps),
        "torch.compile": partial(torch.compile(eager_soft), maps),
        "yardstick: one read, x.sum()": maps.sum,
    }


def soft_gradient(device: str) -> dict[str, Call]:
    """Soft-argmax and its gradient."""
    maps = heatmaps(device).requires_grad_()
    compiled = torch.compile(eager_soft)

    def both(forward: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward(maps).sum(), maps)

    return {
        "hgfast": lambda: both(lambda x: decode_heatmaps(x, "soft")[0]),
        "eager": lambda: both(eager_soft),
        "torch.compile": lambda: both(compiled),
    }


def flip_dark(device: str) -> dict[str, Call]:
    """Flip test, DARK and the map to the picture."""
    maps, flipped = heatmaps(device), heatmaps(device).flip(-1).contiguous()
    matrices = torch.randn(N, 2, 3, generator=torch.Generator().manual_seed(1)).to(device)

    def mmpose() -> Array:
        mirrored = flipped[:, PAIRS].flip(-1)
        mirrored[..., 1:] = mirrored[..., :-1].clone()
        points, _ = mmpose_decode.decode_dark(((maps + mirrored) * 0.5).cpu().numpy())
        matrix = matrices.cpu().numpy()
        return np.einsum("nij,nkj->nki", matrix[:, :, :2], points) + matrix[:, None, :, 2]

    return {
        "hgfast": partial(decode_flip, maps, flipped, PAIRS, "dark", True, matrices),
        "MMPose (with the transfer)": mmpose,
        "yardstick: one read of both, x.sum()": lambda: (maps.sum(), flipped.sum()),
    }


SHAPE = f"{N}x{K}x{SIZE}x{SIZE}"
MMPOSE, READ = "MMPose (with the transfer)", "yardstick: one read, x.sum()"
KINDS = (
    ("decode_heatmaps/quarter", quarter, ("hgfast", "eager", "torch.compile", MMPOSE, READ), MAPS),
    ("decode_heatmaps/dark", dark, ("hgfast", MMPOSE, READ), MAPS),
    ("decode_heatmaps/soft", soft, ("hgfast", "eager", "torch.compile", READ), MAPS),
    ("decode_heatmaps/soft_gradient", soft_gradient, ("hgfast", "eager", "torch.compile"), 3 * MAPS),
    ("decode_flip/dark", flip_dark, ("hgfast", MMPOSE, "yardstick: one read of both, x.sum()"), 2 * MAPS),
)
CASES = [
    Case(f"{name}/{SHAPE}/threads{threads}", peers, make, size, threads=threads)
    for name, make, peers, size in KINDS
    for threads in (1, 2)
]

test_case = benchmark_test(CASES)
