"""Reference of decoding: MMPose's and princeton-vl's rules on whole tensors, in the precision of the maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

_SMALL_KERNELS = {1: (1,), 3: (1, 2, 1), 5: (1, 4, 6, 4, 1), 7: (2, 7, 14, 18, 14, 7, 2)}
_SMALL_KERNELS[9] = (4, 13, 30, 51, 60, 51, 30, 13, 4)
_UDP_REGULARISATION = torch.finfo(torch.float32).eps


def decode_heatmaps(
    heatmaps: torch.Tensor, method: str = "quarter", blur_kernel_size: int = 11
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find keypoints (N, K, 2) and scores (N, K) of maps (N, K, H, W), in their pixels; see `hgfast.ops`.

    float32 for all but float64 maps. A step that is not finite is not taken.
    """
    maps = heatmaps.to(torch.float64 if heatmaps.dtype == torch.float64 else torch.float32)
    value, x, y = first_maximum(maps)
    if method == "newell":
        return _newell(maps, value, x, y)
    step = torch.zeros(*value.shape, 2, dtype=torch.float64, device=maps.device)
    if method == "quarter":
        step = quarter_step(maps, x, y)
    elif method in ("dark", "dark_udp"):
        step = _log_step(maps, value, x, y, method, blur_kernel_size)
    keypoints = torch.stack((x, y), -1) + step
    return torch.where((value > 0)[..., None], keypoints, -1.0).to(maps.dtype), value


def opencv_gaussian_kernel(size: int) -> list[float]:
    """Taps of `cv2.GaussianBlur(map, (size, size), 0)`: fixed tables up to 9, a sampled Gaussian beyond."""
    if size in _SMALL_KERNELS:
        return [tap / sum(_SMALL_KERNELS[size]) for tap in _SMALL_KERNELS[size]]
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    taps = [math.exp(-((i - size // 2) ** 2) / (2 * sigma**2)) for i in range(size)]
    total = sum(taps)
    return [tap / total for tap in taps]


def gaussian_blur(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Blur maps (..., H, W) with OpenCV's Gaussian, zeros around them.

    Taps at equal distance are summed first, so that symmetric maps give exactly symmetric results. Those that lie
    outside the map for every pixel are left out.
    """
    half = opencv_gaussian_kernel(size)[size // 2 :]
    # not mT, which OpenVINO does not know
    return _blur_last(_blur_last(maps.transpose(-2, -1), half).transpose(-2, -1), half)


def _blur_last(maps: torch.Tensor, half: list[float]) -> torch.Tensor:
    """Blur maps along the last dimension; half: weights by distance."""
    length = maps.shape[-1]
    reach = min(len(half), length) - 1
    padded = F.pad(maps, (reach, reach))
    shifted = [padded[..., d : d + length] for d in range(2 * reach + 1)]
    return shifted[reach] * half[0] + sum(
        (shifted[reach - d] + shifted[reach + d]) * half[d] for d in range(1, reach + 1)
    )


def first_maximum(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find value, column and row of each map's first maximum; NaN never wins, a map of nothing else has NaN."""
    flat = maps.flatten(2)
    numbers = torch.where(flat.isnan(), -math.inf, flat)
    index = (numbers == numbers.amax(-1, keepdim=True)).byte().argmax(-1)
    value = torch.where(flat.isnan().all(-1), math.nan, numbers.amax(-1))
    return value, index % maps.shape[-1], index // maps.shape[-1]


def _at(maps: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """maps[n, k, y[n, k], x[n, k]], the border repeated outside."""
    h, w = maps.shape[-2:]
    return maps.flatten(2).gather(-1, (y.clamp(0, h - 1) * w + x.clamp(0, w - 1))[..., None])[..., 0]


def quarter_step(maps: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Step a quarter pixel towards the larger neighbours of (x, y) (N, K), by MMPose's border rule; (N, K, 2)."""
    h, w = maps.shape[-2:]
    right, left = _at(maps, x + 1, y), _at(maps, x - 1, y)
    down, up = _at(maps, x, y + 1), _at(maps, x, y - 1)
    step_x = 0.25 * ((right > left).double() - (right < left).double()) * ((x > 1) & (x < w - 1) & (y > 0))
    step_y = 0.25 * ((down > up).double() - (down < up).double()) * ((y > 1) & (y < h - 1) & (x > 0))
    return torch.stack((step_x, step_y), -1)


def newell_step(maps: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """princeton-vl's step from (x, y) (N, K): always a quarter, to the left in a tie, and half a pixel; (N, K, 2)."""
    right = torch.where(_at(maps, x + 1, y) > _at(maps, x - 1, y), 0.75, 0.25)
    down = torch.where(_at(maps, x, y + 1) > _at(maps, x, y - 1), 0.75, 0.25)
    return torch.stack((right, down), -1)


def _newell(
    maps: torch.Tensor, value: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    step = newell_step(maps, x, y) * (value > 0)[..., None]
    constant = ~(maps.flatten(2) < value[..., None]).any(-1)
    score = torch.where((value < 0) & ~constant, 0.0, value)
    keypoints = torch.stack((x, y), -1) + step
    return torch.where(value.isnan()[..., None], -1.0, keypoints).to(maps.dtype), score.to(maps.dtype)


def _log_step(
    maps: torch.Tensor, value: torch.Tensor, x: torch.Tensor, y: torch.Tensor, method: str, size: int
) -> torch.Tensor:
    """Newton step on the logarithm of the blurred map."""
    h, w = maps.shape[-2:]
    blurred = gaussian_blur(maps, size)
    new_maximum = torch.where(blurred.isnan(), -math.inf, blurred).amax((-2, -1))
    low, high = (1e-3, 50.0) if method == "dark_udp" else (1e-10, math.inf)
    log = (blurred * (value / new_maximum)[..., None, None]).clamp(low, high).double().log()

    def at(dx: int, dy: int) -> torch.Tensor:
        return _at(log, x + dx, y + dy)

    gx, gy = 0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))
    if method == "dark":
        xx = 0.25 * (at(2, 0) - 2 * at(0, 0) + at(-2, 0))
        yy = 0.25 * (at(0, 2) - 2 * at(0, 0) + at(0, -2))
        xy = 0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1))
        allowed = (x > 1) & (x < w - 2) & (y > 1) & (y < h - 2)
    else:
        xx = at(1, 0) - 2 * at(0, 0) + at(-1, 0) + _UDP_REGULARISATION
        yy = at(0, 1) - 2 * at(0, 0) + at(0, -1) + _UDP_REGULARISATION
        cross = at(1, 1) - at(1, 0) - at(0, 1) + 2 * at(0, 0) - at(-1, 0) - at(0, -1) + at(-1, -1)
        xy, allowed = 0.5 * cross, torch.ones_like(x, dtype=torch.bool)
    det = xx * yy - xy * xy
    step = torch.stack((-(yy * gx - xy * gy) / det, -(xx * gy - xy * gx) / det), -1)
    taken = allowed & (det != 0) & step.isfinite().all(-1)
    return torch.where(taken[..., None], step, 0.0)
