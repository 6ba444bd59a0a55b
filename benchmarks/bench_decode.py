"""Decoding (64, 16, 64, 64) heatmaps against MMPose's loops, the compiled expression, and one read of the maps."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks import mmpose_decode
from benchmarks.harness import Call, Case, benchmark_test
from hgfast.ops import decode_heatmaps, gaussian_heatmaps

N, K, SIZE = 64, 16, 64
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
        "one read: x.sum()": maps.sum,
    }


def dark(device: str) -> dict[str, Call]:
    """DARK with a blur of 11."""
    maps = heatmaps(device)
    return {
        "hgfast": partial(decode_heatmaps, maps, "dark"),
        "MMPose (with the transfer)": lambda: mmpose_decode.decode_dark(maps.cpu().numpy()),
        "one read: x.sum()": maps.sum,
    }


SHAPE = f"{N}x{K}x{SIZE}x{SIZE}"
QUARTER_PEERS = ("hgfast", "eager", "torch.compile", "MMPose (with the transfer)", "one read: x.sum()")
DARK_PEERS = ("hgfast", "MMPose (with the transfer)", "one read: x.sum()")
CASES = [
    Case(f"decode_heatmaps/{name}/{SHAPE}/threads{threads}", peers, make, MAPS, threads=threads)
    for name, peers, make in (("quarter", QUARTER_PEERS, quarter), ("dark", DARK_PEERS, dark))
    for threads in (1, 2)
]

test_case = benchmark_test(CASES)
