"""MMPose's decoding as it does it: numpy and OpenCV, map by map. The peer of bench_decode.py."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def heatmap_maximum(heatmaps: Array) -> tuple[Array, Array]:
    """First maximum of each map: locations (N, K, 2), values (N, K); (-1, -1) where the maximum is not positive."""
    n, k, h, w = heatmaps.shape
    flat = heatmaps.reshape(n * k, -1)
    y, x = np.unravel_index(np.argmax(flat, axis=1), shape=(h, w))
    locations = np.stack((x, y), axis=-1).astype(np.float32)
    values = np.amax(flat, axis=1)
    locations[values <= 0.0] = -1
    return locations.reshape(n, k, 2), values.reshape(n, k)


def refine_quarter(locations: Array, heatmaps: Array) -> Array:
    """A quarter of a pixel towards the larger neighbour, joint by joint."""
    n, k, h, w = heatmaps.shape
    for i in range(n):
        for j in range(k):
            x, y = locations[i, j].astype(int)
            dx = heatmaps[i, j, y, x + 1] - heatmaps[i, j, y, x - 1] if 1 < x < w - 1 and 0 < y < h else 0.0
            dy = heatmaps[i, j, y + 1, x] - heatmaps[i, j, y - 1, x] if 1 < y < h - 1 and 0 < x < w else 0.0
            locations[i, j] += np.sign([dx, dy], dtype=np.float32) * 0.25
    return locations


def blur(heatmaps: Array, kernel: int) -> Array:
    """Gaussian blur with zero padding, each map brought back to its old maximum."""
    n, k, h, w = heatmaps.shape
    border = (kernel - 1) // 2
    for i in range(n):
        for j in range(k):
            old = np.max(heatmaps[i, j])
            padded = np.zeros((h + 2 * border, w + 2 * border), dtype=np.float32)
            padded[border:-border, border:-border] = heatmaps[i, j]
            padded = cv2.GaussianBlur(padded, (kernel, kernel), 0)
            heatmaps[i, j] = padded[border:-border, border:-border]
            heatmaps[i, j] *= old / np.max(heatmaps[i, j])
    return heatmaps


def refine_dark(locations: Array, heatmaps: Array, kernel: int = 11) -> Array:
    """A Newton step on the logarithm of the blurred map, joint by joint."""
    n, k, h, w = heatmaps.shape
    logs = np.log(np.maximum(blur(heatmaps, kernel), 1e-10))
    for i in range(n):
        for j in range(k):
            x, y = locations[i, j].astype(int)
            if not (1 < x < w - 2 and 1 < y < h - 2):
                continue
            m = logs[i, j]
            dx, dy = 0.5 * (m[y, x + 1] - m[y, x - 1]), 0.5 * (m[y + 1, x] - m[y - 1, x])
            dxx = 0.25 * (m[y, x + 2] - 2 * m[y, x] + m[y, x - 2])
            dyy = 0.25 * (m[y + 2, x] - 2 * m[y, x] + m[y - 2, x])
            dxy = 0.25 * (m[y + 1, x + 1] - m[y - 1, x + 1] - m[y + 1, x - 1] + m[y - 1, x - 1])
            if dxx * dyy - dxy**2 != 0:
                hessian = np.array([[dxx, dxy], [dxy, dyy]])
                locations[i, j] += (-np.linalg.inv(hessian) @ np.array([[dx], [dy]])).squeeze()
    return locations


def decode_quarter(heatmaps: Array) -> tuple[Array, Array]:
    """MSRAHeatmap(unbiased=False).decode of a batch, in heatmap pixels."""
    locations, values = heatmap_maximum(heatmaps)
    return refine_quarter(locations, heatmaps), values


def decode_dark(heatmaps: Array, kernel: int = 11) -> tuple[Array, Array]:
    """MSRAHeatmap(unbiased=True).decode of a batch, in heatmap pixels."""
    locations, values = heatmap_maximum(heatmaps)
    return refine_dark(locations, heatmaps.copy(), kernel), values
