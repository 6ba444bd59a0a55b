"""decode_flip: flip test, decoding and the map to the picture, all in one launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hgfast import _checks
from hgfast.ops._heatmaps import check_affine
from hgfast.ops.decode_heatmaps import _decode, check_method
from hgfast.ops.flip_merge import check_flip, flip_merge
from hgfast.ops.soft_argmax import check_soft, soft_argmax
from hgfast.reference.flip_merge import apply_affine


def default_shift(method: str) -> bool:
    """Whether the peer of a decoding method moves mirrored maps by one pixel."""
    return method not in ("dark_udp", "newell")


def decode_flip(
    heatmaps: torch.Tensor,
    flipped: torch.Tensor,
    flip_indices: Sequence[int],
    method: str = "quarter",
    shift: bool | None = None,
    inverse_affine: torch.Tensor | None = None,
    blur_kernel_size: int = 11,
    *,
    temperature: float = 1.0,
    window: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`decode_heatmaps(flip_merge(heatmaps, flipped, flip_indices, shift), method)`, mapped to another image's pixels.

    The averaged maps are never written, and not rounded to the maps' dtype ("soft" alone writes them). With "newell"
    they are capped at 1, as princeton-vl's inference does; it also truncates the result to whole pixels of the picture,
    which costs accuracy and is left out here.

    Args:
        heatmaps, flipped: (N, K, H, W), see `flip_merge`.
        flip_indices: K channel numbers, see `flip_merge`.
        method, blur_kernel_size, temperature, window: see `decode_heatmaps`.
        shift: see `flip_merge`; default: as the peers do, True but for "dark_udp" and "newell".
        inverse_affine: (N, 2, 3) or (2, 3), float32 or float64, from heatmap pixels (x, y, 1) to pixels of the picture;
            None leaves heatmap pixels.

    Returns:
        keypoints (N, K, 2) and scores (N, K) as `decode_heatmaps` gives them. A map without a positive value
        gives (-1, -1), mapped by inverse_affine.

    Raises:
        TypeError, ValueError: as `flip_merge` and `decode_heatmaps`, and where inverse_affine has another shape, dtype
            or device.
    """
    indices = check_flip("decode_flip", heatmaps, flipped, flip_indices)
    check_method("decode_flip", method, blur_kernel_size, extra=("soft",))
    check_soft("decode_flip", temperature, window)
    affine = check_affine("decode_flip", inverse_affine, heatmaps)
    shifts = default_shift(method) if shift is None else _checks.flag("decode_flip", "shift", shift)
    if method == "soft":
        keypoints, scores = soft_argmax(flip_merge(heatmaps, flipped, indices, shifts), temperature, window)
        return apply_affine(keypoints, affine), scores
    return _decode(heatmaps.detach(), flipped.detach(), indices, shifts, affine, method, blur_kernel_size)
