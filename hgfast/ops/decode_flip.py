"""decode_flip: flip test, decoding and the map to the picture, all in one launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hgfast.ops import _checks
from hgfast.ops.decode_heatmaps import _decode, check_method
from hgfast.ops.flip_merge import check_flip


def decode_flip(
    heatmaps: torch.Tensor,
    flipped: torch.Tensor,
    flip_indices: Sequence[int],
    method: str = "quarter",
    shift: bool | None = None,
    inverse_affine: torch.Tensor | None = None,
    blur_kernel_size: int = 11,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`decode_heatmaps(flip_merge(heatmaps, flipped, flip_indices, shift), method)`, mapped to another image's pixels.

    The averaged maps are never written, and not rounded to the maps' dtype. With "newell" they are capped at 1, as
    princeton-vl's inference does; it also truncates the result to whole pixels of the picture, which costs accuracy and
    is left out here.

    Args:
        heatmaps, flipped: (N, K, H, W), see `flip_merge`.
        flip_indices: K channel numbers, see `flip_merge`.
        method, blur_kernel_size: see `decode_heatmaps`.
        shift: see `flip_merge`; default: True, but False for "newell".
        inverse_affine: (N, 2, 3) or (2, 3), float32 or float64, from heatmap pixels (x, y, 1) to pixels of the picture;
            None leaves heatmap pixels.

    Returns:
        keypoints (N, K, 2) and scores (N, K) as `decode_heatmaps` gives them. A map without a positive value: the image
        of (-1, -1).

    Raises:
        TypeError, ValueError: as `flip_merge` and `decode_heatmaps`, and where inverse_affine has another shape, dtype
            or device.
    """
    indices = check_flip("decode_flip", heatmaps, flipped, flip_indices)
    check_method("decode_flip", method, blur_kernel_size)
    affine = check_affine("decode_flip", inverse_affine, heatmaps)
    shifts = method != "newell" if shift is None else bool(shift)
    return _decode(heatmaps.detach(), flipped.detach(), indices, shifts, affine, method, blur_kernel_size)


def check_affine(op: str, inverse_affine: torch.Tensor | None, heatmaps: torch.Tensor) -> torch.Tensor | None:
    """inverse_affine as (N or 1, 2, 3).

    Raises:
        TypeError, ValueError: it does not fit.
    """
    if inverse_affine is None:
        return None
    _checks.tensor(op, "inverse_affine", inverse_affine, dtypes=(torch.float32, torch.float64))
    n = heatmaps.shape[0]
    if tuple(inverse_affine.shape) not in ((2, 3), (1, 2, 3), (n, 2, 3)):
        raise ValueError(
            f"{op}: inverse_affine must have shape (2, 3) or ({n}, 2, 3), got {tuple(inverse_affine.shape)}"
        )
    if inverse_affine.device != heatmaps.device:
        raise ValueError(
            f"{op}: inverse_affine must be on heatmaps' device {heatmaps.device}, got {inverse_affine.device}"
        )
    return inverse_affine.detach().reshape(-1, 2, 3)
