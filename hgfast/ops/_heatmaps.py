"""What the ops on heatmaps share: checks, memory order, outputs."""

from __future__ import annotations

import torch

from hgfast import _checks, _native

MAX_FLIP_CHANNELS = 512  # csrc/common/heatmaps.h: kMaxFlipChannels


def check_heatmaps(op: str, name: str, heatmaps: torch.Tensor) -> None:
    """Require heatmaps (N, K, H, W) with at least one pixel.

    Raises:
        TypeError, ValueError: they are not.
    """
    _checks.tensor(op, name, heatmaps, ndim=4)
    if heatmaps.shape[2] == 0 or heatmaps.shape[3] == 0:
        raise ValueError(f"{op}: {name} must have at least one pixel a map, got shape {tuple(heatmaps.shape)}")


def check_affine(
    op: str, inverse_affine: torch.Tensor | None, heatmaps: torch.Tensor, name: str = "inverse_affine"
) -> torch.Tensor | None:
    """inverse_affine, which messages call `name`, as (N or 1, 2, 3).

    Raises:
        TypeError, ValueError: it does not fit.
    """
    if inverse_affine is None:
        return None
    _checks.tensor(op, name, inverse_affine, dtypes=(torch.float32, torch.float64))
    n, shape = heatmaps.shape[0], inverse_affine.shape
    # the batch last and n before 1: an exported graph's symbolic batch is compared with nothing but itself
    fits = len(shape) in (2, 3) and tuple(shape[-2:]) == (2, 3)
    if not fits or (len(shape) == 3 and shape[0] != n and shape[0] != 1):
        raise ValueError(
            f"{op}: {name} must have shape (2, 3) or ({n}, 2, 3) for heatmaps of shape "
            f"{tuple(heatmaps.shape)}, got {tuple(inverse_affine.shape)}"
        )
    if inverse_affine.device != heatmaps.device:
        raise ValueError(f"{op}: {name} must be on heatmaps' device {heatmaps.device}, got {inverse_affine.device}")
    return inverse_affine.detach().reshape(-1, 2, 3)


def dense_maps(heatmaps: torch.Tensor, flipped: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None, int]:
    """Make both sets of maps dense in one memory order: that of heatmaps, or NCHW if it has none."""
    # A map of one channel or one pixel is dense in both orders; NCHW is the faster reading of it.
    layout = _native.NCHW if heatmaps.is_contiguous() else _native.layout_of(heatmaps)
    if layout is None:
        heatmaps, layout = heatmaps.contiguous(), _native.NCHW
    memory_format = torch.channels_last if layout == _native.NHWC else torch.contiguous_format
    return heatmaps, None if flipped is None else flipped.contiguous(memory_format=memory_format), layout


def points_like(heatmaps: torch.Tensor, *last: int) -> torch.Tensor:
    """Return an empty (N, K, *last) tensor for maps (N, K, H, W): float32, float64 for float64 maps."""
    dtype = torch.float64 if heatmaps.dtype == torch.float64 else torch.float32
    return torch.empty((*heatmaps.shape[:2], *last), dtype=dtype, device=heatmaps.device)
