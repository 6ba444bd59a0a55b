"""gaussian_heatmaps: training targets of all joints of a batch in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgfast import _checks, _native, reference
from hgfast._native import DTYPE_CODES, exec_handle
from hgfast.ops._operands import fit
from hgfast.ops._registry import define
from hgfast.reference.gaussian_heatmaps import GAUSSIAN_KINDS

if TYPE_CHECKING:
    from hgfast._library import Library

LARGEST_SIDE = 1 << 20
LARGEST_SIGMA = 1e9
VISIBLE_DTYPES = (*_checks.FLOATING, torch.bool, torch.uint8, torch.int64)


def gaussian_heatmaps(
    keypoints: Tensor,
    visible: Tensor,
    size: tuple[int, int],
    sigma: float,
    kind: str = "msra",
    *,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Target heatmaps: a Gaussian of height 1 about each joint.

    Kinds, each by its peer's rounding and bounds:
        "msra": centred on the pixel trunc(keypoint + 0.5), cut to 3 sigma about it (MMPose MSRAHeatmap).
        "unbiased": centred on the keypoint itself, over the whole map (MSRAHeatmap(unbiased=True), DARK).
        "udp": centred on the keypoint, cut to 3 sigma about trunc(keypoint + 0.5) (MMPose UDPHeatmap, gaussian).
        "newell": centred on the pixel trunc(keypoint), cut to 3 sigma + 1 (princeton-vl GenerateHeatmap, which takes
            sigma = size / 64); joints with x <= 0 or outside the map are not drawn.

    A joint with visible < 0.5 is not drawn and keeps `visible` as its weight (0.49 stays 0.49; 2 stays 2); a joint
    whose patch misses the map, or whose position is not finite, gets weight 0. Not differentiable.

    Args:
        keypoints: (N, K, 2), x and y in heatmap pixels; used in float32.
        visible: (N, K).
        size: (W, H) of the maps.
        sigma: standard deviation in heatmap pixels, > 0, at most 1e9.
        kind: one of the above.
        dtype: of the maps.

    Returns:
        heatmaps (N, K, H, W) of `dtype`, weights (N, K) float32, on keypoints' device.

    Raises:
        TypeError, ValueError: an argument does not fit.
    """
    op = "gaussian_heatmaps"
    check_points(op, keypoints, visible)
    _checks.choice(op, "kind", kind, GAUSSIAN_KINDS)
    _checks.choice(op, "dtype", dtype, _checks.FLOATING)
    check_sigma(op, sigma)
    points, seen = keypoints.detach().float().contiguous(), visible.detach().float().contiguous()
    width, height = _checks.size(op, "size", size)
    return _gaussian_heatmaps(points, seen, width, height, float(sigma), GAUSSIAN_KINDS.index(kind), dtype)


def check_points(op: str, keypoints: Tensor, visible: Tensor) -> None:
    """keypoints (N, K, 2) and visible (N, K) on one device."""
    _checks.tensor(op, "keypoints", keypoints, ndim=3)
    _checks.tensor(op, "visible", visible, ndim=2, dtypes=VISIBLE_DTYPES)
    _checks.shape(op, "keypoints", keypoints, (*visible.shape, 2), "N and K of visible, then x and y")
    if visible.device != keypoints.device:
        raise ValueError(f"{op}: visible must be on keypoints' device {keypoints.device}, got {visible.device}")


def check_sigma(op: str, sigma: float) -> None:
    """Require a positive number whose square is one, too."""
    _checks.number(op, "sigma", sigma, above=0, maximum=LARGEST_SIGMA)


def _check(
    keypoints: Tensor, visible: Tensor, width: int, height: int, sigma: float, kind: int, dtype: torch.dtype
) -> None:
    op = "gaussian_heatmaps"
    check_points(op, keypoints, visible)
    fit(op, "visible", visible, visible.shape, ("keypoints", keypoints), (torch.float32,))
    fit(op, "keypoints", keypoints, keypoints.shape, ("visible", visible), (torch.float32,))
    for name, size in (("width", width), ("height", height)):
        _checks.integer(op, name, size, 1, LARGEST_SIDE)
    check_sigma(op, sigma)
    _checks.integer(op, "kind", kind, 0, len(GAUSSIAN_KINDS) - 1)
    _checks.choice(op, "dtype", dtype, _checks.FLOATING)


def _kernel(
    lib: Library, keypoints: Tensor, visible: Tensor, width: int, height: int, sigma: float, kind: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    keypoints, visible = keypoints.contiguous(), visible.contiguous()
    n, k = visible.shape
    heatmaps = torch.empty((n, k, height, width), dtype=dtype, device=keypoints.device)
    weights = torch.empty_like(visible)
    if n and k:
        lib.gaussian_heatmaps(
            _native.ptr(keypoints), _native.ptr(visible), _native.out(heatmaps), _native.out(weights),
            DTYPE_CODES[dtype], kind, sigma, n, k, height, width, exec_handle(keypoints),
        )  # fmt: skip
    return heatmaps, weights


def _reference(
    keypoints: Tensor, visible: Tensor, width: int, height: int, sigma: float, kind: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    return reference.gaussian_heatmaps(keypoints, visible, (width, height), sigma, GAUSSIAN_KINDS[kind], dtype)


def _fake(
    keypoints: Tensor, visible: Tensor, width: int, height: int, sigma: float, kind: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    return keypoints.new_empty((*visible.shape, height, width), dtype=dtype), torch.empty_like(visible)


def _supports(
    keypoints: Tensor, visible: Tensor, width: int, height: int, sigma: float, kind: int, dtype: torch.dtype
) -> str | None:
    return "float64 has no CUDA kernel" if _native.on_cuda(keypoints) and dtype == torch.float64 else None


_gaussian_heatmaps = define(
    "gaussian_heatmaps(Tensor keypoints, Tensor visible, SymInt width, SymInt height, float sigma, int kind, "
    "ScalarType dtype) -> (Tensor, Tensor)",
    kernel=_kernel,
    reference=_reference,
    fake=_fake,
    check=_check,
    supports=_supports,
)
