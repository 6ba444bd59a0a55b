"""flip_merge: the average of heatmaps with those of the mirrored image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from hgfast import _checks, _native, reference
from hgfast._native import DTYPE_CODES, exec_handle
from hgfast.ops._heatmaps import MAX_FLIP_CHANNELS, check_heatmaps, dense_maps
from hgfast.ops._operands import fit
from hgfast.ops._registry import define

if TYPE_CHECKING:
    from hgfast._library import Library


def flip_merge(
    heatmaps: torch.Tensor, flipped: torch.Tensor, flip_indices: Sequence[int], shift: bool = True
) -> torch.Tensor:
    """(heatmaps + the mirrored, pair-swapped `flipped`) / 2: the flip test of top-down pose estimation.

    Args:
        heatmaps: (N, K, H, W), float32, float16, bfloat16 or float64.
        flipped: maps of the mirrored images as the network returns them; shape, dtype and device of heatmaps.
        flip_indices: for each of the K joints the channel of `flipped` that shows it (its left-right partner).
        shift: move the mirrored maps one pixel to the right, column 0 keeping its value (MMPose's shift_heatmap; for
            networks trained on crops whose centre maps to size / 2). princeton-vl does not shift.

    Returns:
        (N, K, H, W) of heatmaps' dtype, summed in float32 (float64) and rounded once. Differentiable.

    Raises:
        TypeError: an argument is not a tensor, dtypes differ, or flip_indices are no integers.
        ValueError: shapes or devices differ, maps without pixels, flip_indices not K numbers in [0, K).
    """
    indices = check_flip("flip_merge", heatmaps, flipped, flip_indices)
    return _flip_merge(heatmaps, flipped, indices, _checks.flag("flip_merge", "shift", shift))


def check_flip(op: str, heatmaps: torch.Tensor, flipped: torch.Tensor, flip_indices: Sequence[int]) -> list[int]:
    """Require both sets of maps to fit, and return flip_indices (a sequence, array or tensor) as a list.

    Raises:
        TypeError, ValueError: as `flip_merge` says.
    """
    check_heatmaps(op, "heatmaps", heatmaps)
    fit(op, "flipped", flipped, heatmaps.shape, ("heatmaps", heatmaps))
    k = heatmaps.shape[1]
    indices = _checks.integers(op, "flip_indices", flip_indices)
    if len(indices) != k or not all(0 <= index < k for index in indices):
        raise ValueError(f"{op}: flip_indices must be {k} channel numbers in [0, {k}), got {indices}")
    return indices


def _supports(heatmaps: torch.Tensor, flipped: torch.Tensor, flip_indices: list[int], shift: bool) -> str | None:
    if _native.on_cuda(heatmaps) and heatmaps.dtype == torch.float64:
        return "float64 has no CUDA kernel"
    return f"more than {MAX_FLIP_CHANNELS} channels" if len(flip_indices) > MAX_FLIP_CHANNELS else None


def _kernel(
    lib: Library, heatmaps: torch.Tensor, flipped: torch.Tensor, flip_indices: list[int], shift: bool
) -> torch.Tensor:
    out = _fake(heatmaps, flipped, flip_indices, shift)
    if out.numel() == 0:
        return out
    heatmaps, other, layout = dense_maps(heatmaps, flipped)
    n, k, h, w = heatmaps.shape
    lib.flip_merge(
        _native.ptr(heatmaps), DTYPE_CODES[heatmaps.dtype], layout, n, k, h, w, _native.ptr(other),
        tuple(flip_indices), int(shift), _native.out(out), exec_handle(heatmaps),
    )  # fmt: skip
    return out


def _reference(heatmaps: torch.Tensor, flipped: torch.Tensor, flip_indices: list[int], shift: bool) -> torch.Tensor:
    return _fake(heatmaps, flipped, flip_indices, shift).copy_(
        reference.flip_merge(heatmaps, flipped, flip_indices, shift)
    )


def _fake(heatmaps: torch.Tensor, flipped: torch.Tensor, flip_indices: list[int], shift: bool) -> torch.Tensor:
    nhwc = not heatmaps.is_contiguous() and heatmaps.is_contiguous(memory_format=torch.channels_last)
    return torch.empty_like(heatmaps, memory_format=torch.channels_last if nhwc else torch.contiguous_format)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, list[int], bool], output: torch.Tensor) -> None:
    ctx.flip_indices, ctx.shift = inputs[2], inputs[3]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
    half = grad * 0.5
    mirrored = half
    if ctx.shift:  # column x came from x - 1; column 0 is read twice, the last one not at all
        mirrored = torch.cat((half[..., 1:], torch.zeros_like(half[..., :1])), -1)
        mirrored = torch.cat((mirrored[..., :1] + half[..., :1], mirrored[..., 1:]), -1)
    index = torch.tensor(ctx.flip_indices, device=grad.device, dtype=torch.int64)
    return half, torch.zeros_like(half).index_add(1, index, mirrored.flip(-1)), None, None


_flip_merge = define(
    "flip_merge(Tensor heatmaps, Tensor flipped, int[] flip_indices, bool shift) -> Tensor",
    kernel=_kernel,
    reference=_reference,
    fake=_fake,
    check=lambda heatmaps, flipped, flip_indices, shift: check_flip("flip_merge", heatmaps, flipped, flip_indices),
    supports=_supports,
    setup_context=_setup_context,
    backward=_backward,
)
