"""decode_heatmaps: from heatmaps to keypoints and scores, every method in one read of the maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hgfast import _checks, _native, reference
from hgfast._native import DTYPE_CODES, exec_handle
from hgfast.ops._heatmaps import MAX_FLIP_CHANNELS, check_affine, check_heatmaps, dense_maps, points_like
from hgfast.ops._registry import define
from hgfast.ops.flip_merge import check_flip
from hgfast.ops.soft_argmax import check_soft, soft_argmax
from hgfast.reference.flip_merge import apply_affine

if TYPE_CHECKING:
    from hgfast._library import Library

METHODS = {"argmax": 0, "quarter": 1, "dark": 2, "dark_udp": 3, "newell": 4}  # csrc/common: DecodeMethod
MAX_BLUR_KERNEL_SIZE = 63  # csrc/common/decode_heatmaps.h: kMaxBlurRadius; a larger one goes to the reference
LARGEST_BLUR_KERNEL = (1 << 16) - 1
MAX_CUDA_WIDTH = 4096  # csrc/cuda/decode_heatmaps.cuh: kMaxDecodeWidth


def decode_heatmaps(
    heatmaps: torch.Tensor,
    method: str = "quarter",
    blur_kernel_size: int = 11,
    *,
    temperature: float = 1.0,
    window: int | None = None,
    inverse_affine: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Location of each heatmap's maximum, refined below a pixel, and the maximum as score.

    The maximum is the first in row-major order; NaN never wins. Methods:

    - "argmax": the pixel itself.
    - "quarter": a quarter of a pixel towards the larger neighbour, with MMPose's border rule (MSRAHeatmap).
    - "dark": Newton step on the logarithm of the blurred map (Zhang et al., CVPR 2020; MSRAHeatmap(unbiased=True)).
    - "dark_udp": the same with UDP's derivatives, clipping and border (Huang et al., CVPR 2020; UDPHeatmap).
    - "newell": princeton-vl's quarter step, which is always taken, and +0.5 (stacked hourglass of Newell et al.).
    - "soft": the mean position under softmax(map / temperature), over the whole map or a window around the maximum;
      differentiable (integral regression, Sun et al., ECCV 2018). kornia's `temperature` is the inverse of this one.

    A map without a positive value gives (-1, -1) and its maximum as score (a map of nothing but NaN: score NaN). Not so
    "newell", where the location is that of the first maximum and the score princeton-vl's; nor "soft", which takes any
    values: NaN has no weight, and beside +inf nothing else has one. Where MMPose gives NaN, lets one map leak into the
    next (both "dark_udp") or raises, hgfast leaves out the step: the location is always finite, and depends on its own
    map alone.

    Args:
        heatmaps: (N, K, H, W), float32, float16, bfloat16 or float64; contiguous or channels_last are the fast layouts.
        method: see above.
        blur_kernel_size: odd, positive, at most 65535; of "dark" and "dark_udp" (11 for sigma 2, 17 for sigma 3).
        temperature: of "soft", > 0.
        window: of "soft": only pixels at most that far from the maximum, in x and in y, take part; None: all.
        inverse_affine: (N, 2, 3) or (2, 3), float32 or float64: maps the keypoints (x, y, 1) further, e.g. to pixels of
            the network's input or of the picture, in the same launch (not so with "soft").

    Returns:
        keypoints (N, K, 2), x and y in heatmap pixels (or what inverse_affine makes of them), and scores (N, K), both
        float32 (float64 for float64 maps). Gradients flow through those of "soft" only, the window being constant.

    Raises:
        TypeError: heatmaps is no floating-point tensor, or blur_kernel_size no integer.
        ValueError: another rank, maps without pixels, an unknown method, an even or non-positive blur_kernel_size, or a
            temperature, window or inverse_affine that does not fit.
    """
    check_heatmaps("decode_heatmaps", "heatmaps", heatmaps)
    check_method("decode_heatmaps", method, blur_kernel_size, extra=("soft",))
    check_soft("decode_heatmaps", temperature, window)
    affine = check_affine("decode_heatmaps", inverse_affine, heatmaps)
    if method == "soft":
        keypoints, scores = soft_argmax(heatmaps, temperature, window)
        return apply_affine(keypoints, affine), scores
    return _decode(heatmaps.detach(), None, [], False, affine, method, blur_kernel_size)


def check_method(op: str, method: str, blur_kernel_size: int, extra: tuple[str, ...] = ()) -> None:
    """Require a known method (or one of `extra`) and an odd blur kernel.

    Raises:
        TypeError, ValueError: they are not.
    """
    _checks.choice(op, "method", method, (*METHODS, *extra))
    _checks.integer(op, "blur_kernel_size", blur_kernel_size, maximum=LARGEST_BLUR_KERNEL)
    if blur_kernel_size < 1 or blur_kernel_size % 2 == 0:
        raise ValueError(f"{op}: blur_kernel_size must be odd and positive, got {blur_kernel_size}")


def _check(
    heatmaps: torch.Tensor,
    flipped: torch.Tensor | None,
    flip_indices: list[int],
    shift: bool,
    affine: torch.Tensor | None,
    method: str,
    blur_kernel_size: int,
) -> None:
    op = "decode_heatmaps"
    check_heatmaps(op, "heatmaps", heatmaps)
    check_method(op, method, blur_kernel_size)
    check_affine(op, affine, heatmaps, "affine")
    if flipped is not None:
        check_flip(op, heatmaps, flipped, flip_indices)
    elif flip_indices:
        raise ValueError(f"{op}: flip_indices must be empty where there is no flipped, got {flip_indices[:5]}")


def _supports(
    heatmaps: torch.Tensor,
    flipped: torch.Tensor | None,
    flip_indices: list[int],
    shift: bool,
    affine: torch.Tensor | None,
    method: str,
    blur_kernel_size: int,
) -> str | None:
    if _native.on_cuda(heatmaps) and heatmaps.dtype == torch.float64:
        return "float64 has no CUDA kernel"
    if _native.on_cuda(heatmaps) and heatmaps.shape[3] > MAX_CUDA_WIDTH:
        return f"maps are wider than {MAX_CUDA_WIDTH}"
    if blur_kernel_size > MAX_BLUR_KERNEL_SIZE:
        return f"blur_kernel_size is larger than {MAX_BLUR_KERNEL_SIZE}"
    if len(flip_indices) > MAX_FLIP_CHANNELS:
        return f"flip_indices has more than {MAX_FLIP_CHANNELS} entries"
    return None


def _kernel(
    lib: Library,
    heatmaps: torch.Tensor,
    flipped: torch.Tensor | None,
    flip_indices: list[int],
    shift: bool,
    affine: torch.Tensor | None,
    method: str,
    blur_kernel_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    keypoints, scores = _fake(heatmaps)
    if scores.numel() == 0:
        return keypoints, scores
    heatmaps, flipped, layout = dense_maps(heatmaps, flipped)
    affine = None if affine is None else affine.reshape(-1, 2, 3).contiguous()
    n, k, h, w = heatmaps.shape
    lib.decode_heatmaps(
        _native.ptr(heatmaps),
        DTYPE_CODES[heatmaps.dtype],
        layout,
        n,
        k,
        h,
        w,
        _native.ptr(flipped),
        tuple(flip_indices),
        int(shift),
        _native.ptr(affine),
        DTYPE_CODES[torch.float32 if affine is None else affine.dtype],
        0 if affine is None or affine.shape[0] == 1 else 6,
        _native.out(keypoints),
        _native.out(scores),
        METHODS[method],
        blur_kernel_size,
        exec_handle(heatmaps),
    )
    return keypoints, scores


def _fake(heatmaps: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
    return points_like(heatmaps, 2), points_like(heatmaps)


# flipped and affine may be absent; decode_flip calls it with them.
_decode = define(
    "decode_heatmaps(Tensor heatmaps, Tensor? flipped, int[] flip_indices, bool shift, Tensor? affine, str method, "
    "int blur_kernel_size) -> (Tensor, Tensor)",
    kernel=_kernel,
    reference=reference.decode_flip,
    fake=_fake,
    check=_check,
    supports=_supports,
)
