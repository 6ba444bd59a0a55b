"""Reference of the flip test: averaging with the maps of the mirrored image, and decoding the average."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hgfast.reference.decode_heatmaps import decode_heatmaps


def mirror(flipped: torch.Tensor, flip_indices: Sequence[int], shift: bool) -> torch.Tensor:
    """Mirror maps (N, K, H, W) of mirrored images to maps of the images: MMPose's `flip_heatmaps`."""
    mirrored = flipped[:, list(flip_indices)].flip(-1)
    return torch.cat((mirrored[..., :1], mirrored[..., :-1]), -1) if shift else mirrored


def flip_merge(
    heatmaps: torch.Tensor, flipped: torch.Tensor, flip_indices: Sequence[int], shift: bool = True
) -> torch.Tensor:
    """(heatmaps + mirrored) / 2, summed in float32 or better and rounded once to the maps' dtype."""
    wide = torch.float64 if heatmaps.dtype == torch.float64 else torch.float32
    merged = (heatmaps.to(wide) + mirror(flipped.to(wide), flip_indices, shift)) * 0.5
    return merged.to(heatmaps.dtype)


def decode_flip(
    heatmaps: torch.Tensor,
    flipped: torch.Tensor | None,
    flip_indices: Sequence[int],
    shift: bool,
    affine: torch.Tensor | None,
    method: str,
    blur_kernel_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`decode_heatmaps` of the averaged maps (of heatmaps where flipped is None), then affine (N or 1, 2, 3)."""
    maps = heatmaps.to(torch.float64 if heatmaps.dtype == torch.float64 else torch.float32)
    if flipped is not None:
        maps = flip_merge(maps, flipped.to(maps.dtype), flip_indices, shift)
        maps = maps.clamp(max=1) if method == "newell" else maps
    keypoints, scores = decode_heatmaps(maps, method, blur_kernel_size)
    return apply_affine(keypoints, affine), scores


def apply_affine(keypoints: torch.Tensor, affine: torch.Tensor | None) -> torch.Tensor:
    """keypoints (N, K, 2) mapped by affine (N or 1, 2, 3) in float64; None leaves them."""
    if affine is None:
        return keypoints
    linear, offset = affine.double()[:, None, :, :2], affine.double()[:, None, :, 2]
    return ((linear * keypoints.double()[..., None, :]).sum(-1) + offset).to(keypoints.dtype)
