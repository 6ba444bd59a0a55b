"""Decoding against the peers' golden runs (tests/data): MMPose's refine functions and princeton-vl's parser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hgfast import reference
from hgfast.ops import decode_heatmaps

DATA = Path(__file__).parent / "data"
CASES = ["g64", "n64", "g96", "g48x64", "edge24x20"]
LOG_METHODS = [("dark", "dark"), ("dark_udp", "udp")]  # our name, the file's


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(DATA / "mmpose_decode.npz") as data:
        return dict(data)


def decode(name: str, golden, device: str, method: str, size: int = 11) -> tuple[np.ndarray, np.ndarray]:
    maps = torch.from_numpy(golden[f"{name}_hm"])[None].to(device)
    keypoints, scores = decode_heatmaps(maps, method, size)
    return keypoints[0].cpu().numpy(), scores[0].cpu().numpy()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("method", "array"), [("argmax", "max_loc"), ("quarter", "refine_quarter")])
def test_exact_methods(golden, device, name, method, array) -> None:
    keypoints, scores = decode(name, golden, device, method)
    np.testing.assert_array_equal(keypoints, golden[f"{name}_{array}"])
    np.testing.assert_array_equal(scores, golden[f"{name}_max_val"])


def well_conditioned(golden, name: str, short: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which keypoints are decidable at all, and the tolerance of each (tests/data's own measure of sensitivity)."""
    sensitivity = golden[f"{name}_{short}_k{size}_sens"]
    positive = golden[f"{name}_max_val"] > 0
    return (sensitivity <= 0.05) & positive, np.maximum(1e-3, 20 * sensitivity)


SIZED_CASES = [(name, 11) for name in CASES] + [("g64", 17), ("g96", 17)]


@pytest.mark.parametrize(("name", "size"), SIZED_CASES)
@pytest.mark.parametrize(("method", "short"), LOG_METHODS)
def test_log_methods(golden, device, name, method, short, size) -> None:
    keypoints, scores = decode(name, golden, device, method, size)
    chosen, tolerance = well_conditioned(golden, name, short, size)
    assert chosen.sum() >= len(chosen) // 2
    error = np.abs(keypoints - golden[f"{name}_refine_{short}_k{size}"]).max(-1)
    assert (error[chosen] <= tolerance[chosen]).all(), error
    np.testing.assert_array_equal(scores, golden[f"{name}_max_val"])
    assert np.isfinite(keypoints).all()
    empty = golden[f"{name}_max_val"] <= 0
    np.testing.assert_array_equal(keypoints[empty], -1)


@pytest.mark.parametrize("which", [0, 1])
def test_newell(device, which) -> None:
    with np.load(DATA / "princeton_decode.npz") as data:
        maps, parsed, plain = data[f"det{which}"], data[f"parse{which}"], data[f"parse{which}_noadjust"]
    keypoints, scores = decode_heatmaps(torch.from_numpy(maps)[None].to(device), "newell")
    np.testing.assert_array_equal(scores[0].cpu(), parsed[:, 2])
    positive = parsed[:, 2] > 0  # elsewhere the peer's location is arbitrary
    np.testing.assert_array_equal(keypoints[0].cpu().numpy()[positive], parsed[positive, :2])
    keypoints, _ = decode_heatmaps(torch.from_numpy(maps)[None].to(device), "argmax")
    np.testing.assert_array_equal(keypoints[0].cpu().numpy()[positive], plain[positive, :2])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["argmax", "quarter", "dark", "dark_udp", "newell"])
def test_reference_agrees(golden, name, method) -> None:
    """The float64 reference is held against the same numbers, so that it may serve as oracle elsewhere."""
    maps = torch.from_numpy(golden[f"{name}_hm"])[None]
    keypoints, scores = reference.decode_heatmaps(maps.double(), method)
    ours, our_scores = decode_heatmaps(maps, method)
    torch.testing.assert_close(scores.float(), our_scores, rtol=0, atol=0)
    short = {"dark": "dark", "dark_udp": "udp"}.get(method)
    chosen, tolerance = np.ones(maps.shape[1], bool), np.zeros(maps.shape[1])
    if short:
        chosen, tolerance = well_conditioned(golden, name, short, 11)
        error = np.abs(keypoints[0].numpy() - golden[f"{name}_refine_{short}_k11"]).max(-1)
        assert (error[chosen] <= tolerance[chosen]).all()
    assert (np.abs((keypoints[0] - ours[0]).numpy()).max(-1)[chosen] <= tolerance[chosen]).all()
