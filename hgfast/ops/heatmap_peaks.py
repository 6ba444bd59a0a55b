"""heatmap_peaks: several peaks of each heatmap, for crowded crops and bottom-up users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hgfast import _checks, _native, reference
from hgfast._native import DTYPE_CODES, exec_handle
from hgfast.ops._heatmaps import check_heatmaps, dense_maps, points_like
from hgfast.ops._registry import define
from hgfast.ops.decode_heatmaps import METHODS

if TYPE_CHECKING:
    from hgfast._library import Library

MAX_COUNT = 1 << 16
PEAK_METHODS = ("argmax", "quarter", "newell")


def heatmap_peaks(
    heatmaps: torch.Tensor, count: int, *, threshold: float = 0.0, method: str = "quarter"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the `count` largest peaks of each heatmap after 3x3 non-maximum suppression.

    A peak is a value above `threshold` that no value of its 3x3 neighbourhood exceeds, so all of a plateau's pixels are
    peaks (as with max-pooling in bottom-up decoders). Largest first, equal ones in row-major order, which torch.topk
    leaves open. NaN is no peak and hides none.

    Args:
        heatmaps: (N, K, H, W), float32, float16, bfloat16 or float64.
        count: peaks a map, at least 1; at most 65536, or as many as a map has pixels.
        threshold: what a peak exceeds.
        method: "argmax", "quarter" or "newell": the step below a pixel, see `decode_heatmaps`.

    Returns:
        keypoints (N, K, count, 2), x and y in heatmap pixels, and scores (N, K, count); float32 (float64 for float64
        maps). (-1, -1) and score 0 where a map has fewer peaks. No gradient flows through them.

    Raises:
        TypeError, ValueError: an argument does not fit.
    """
    count, threshold = _check(heatmaps, count, threshold, method)
    return _heatmap_peaks(heatmaps.detach(), count, threshold, method)


def _check(heatmaps: torch.Tensor, count: int, threshold: float, method: str) -> tuple[int, float]:
    op = "heatmap_peaks"
    check_heatmaps(op, "heatmaps", heatmaps)
    _checks.choice(op, "method", method, PEAK_METHODS)
    most = max(MAX_COUNT, heatmaps.shape[2] * heatmaps.shape[3])
    whole = _checks.integer(op, "count", count, 1, most)
    return whole, _checks.number(op, "threshold", threshold, finite=False)


def _supports(heatmaps: torch.Tensor, *rest: Any) -> str | None:
    return "float64 has no CUDA kernel" if _native.on_cuda(heatmaps) and heatmaps.dtype == torch.float64 else None


def _fake(heatmaps: torch.Tensor, count: int, threshold: float, method: str) -> tuple[torch.Tensor, torch.Tensor]:
    return points_like(heatmaps, count, 2), points_like(heatmaps, count)


def _kernel(
    lib: Library, heatmaps: torch.Tensor, count: int, threshold: float, method: str
) -> tuple[torch.Tensor, torch.Tensor]:
    keypoints, scores = _fake(heatmaps, count, threshold, method)
    if scores.numel():
        heatmaps, _, layout = dense_maps(heatmaps, None)
        n, k, h, w = heatmaps.shape
        lib.heatmap_peaks(
            _native.ptr(heatmaps), DTYPE_CODES[heatmaps.dtype], layout, n, k, h, w, _native.out(keypoints),
            _native.out(scores), count, threshold, METHODS[method], exec_handle(heatmaps),
        )  # fmt: skip
    return keypoints, scores


_heatmap_peaks = define(
    "heatmap_peaks(Tensor heatmaps, int count, float threshold, str method) -> (Tensor, Tensor)",
    kernel=_kernel,
    reference=reference.heatmap_peaks,
    fake=_fake,
    check=_check,
    supports=_supports,
)
