"""HeatmapDecoder: decoding as the last layer of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import _checks
from hgfast.codecs import HeatmapCodec
from hgfast.ops import decode_flip, decode_heatmaps
from hgfast.ops._heatmaps import check_affine, check_heatmaps
from hgfast.ops.decode_heatmaps import check_method


class HeatmapDecoder(nn.Module):
    """Heatmaps to keypoints, for the end of a compiled or exported network and inside CUDA graphs.

    It has no parameters; the matrix `to_input` moves with the module to other devices but stays float64.

    Args:
        method: of :func:`hgfast.ops.decode_heatmaps`.
        blur_kernel_size, temperature, window: of that method.
        flip_indices: for each joint its left-right partner's channel; needed where `flipped` is given.
        shift: of :func:`hgfast.ops.decode_flip`.
        to_input: (2, 3), from heatmap pixels to those that are wanted, e.g. of the network's input; None leaves them.

    Raises:
        TypeError, ValueError: an argument does not fit.

    Shapes: heatmaps, flipped (N, K, H, W); inverse_affine (N, 2, 3) or (2, 3), applied after `to_input`; out: keypoints
    (N, K, 2), scores (N, K).
    """

    def __init__(
        self,
        method: str = "quarter",
        blur_kernel_size: int = 11,
        *,
        flip_indices: Sequence[int] | None = None,
        shift: bool | None = None,
        to_input: Tensor | None = None,
        temperature: float = 1.0,
        window: int | None = None,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        check_method(where, method, blur_kernel_size, extra=("soft",))
        if flip_indices is not None:
            flip_indices = _checks.integers(where, "flip_indices", flip_indices, minimum=0)
        if shift is not None:
            shift = _checks.flag(where, "shift", shift)
        temperature = _checks.number(where, "temperature", temperature, above=0)
        window = None if window is None else _checks.integer(where, "window", window, 0)
        if to_input is not None:
            _checks.tensor(where, "to_input", to_input, ndim=2, dtypes=(torch.float32, torch.float64))
            _checks.shape(where, "to_input", to_input, (2, 3))
        self.method, self.blur_kernel_size = method, blur_kernel_size
        self.flip_indices = None if flip_indices is None else list(flip_indices)
        self.shift, self.temperature, self.window = shift, temperature, window
        self.to_input: Tensor | None
        self.register_buffer("to_input", None if to_input is None else to_input.double(), persistent=False)

    @classmethod
    def from_codec(cls, codec: HeatmapCodec, flip_indices: Sequence[int] | None = None) -> HeatmapDecoder:
        """Make the decoder of a codec, to pixels of the network's input."""
        return cls(
            codec.method,
            codec.blur_kernel_size,
            flip_indices=flip_indices,
            shift=codec.shift,
            to_input=codec.to_input_matrix(),
        )

    def forward(
        self, heatmaps: Tensor, flipped: Tensor | None = None, inverse_affine: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return keypoints and scores.

        Raises:
            TypeError, ValueError: as the ops; ValueError for `flipped` without flip_indices.
        """
        check_heatmaps(type(self).__name__, "heatmaps", heatmaps)
        check_affine(type(self).__name__, inverse_affine, heatmaps)
        matrix = self._matrix(inverse_affine)
        if flipped is None:
            return decode_heatmaps(
                heatmaps,
                self.method,
                self.blur_kernel_size,
                temperature=self.temperature,
                window=self.window,
                inverse_affine=matrix,
            )
        if self.flip_indices is None:
            raise ValueError("HeatmapDecoder: flipped needs flip_indices, which the module was made without")
        return decode_flip(
            heatmaps,
            flipped,
            self.flip_indices,
            self.method,
            self.shift,
            matrix,
            self.blur_kernel_size,
            temperature=self.temperature,
            window=self.window,
        )

    def extra_repr(self) -> str:
        """Show method and flip test."""
        return f"method={self.method!r}, blur_kernel_size={self.blur_kernel_size}, flip_indices={self.flip_indices}"

    def _matrix(self, inverse_affine: Tensor | None) -> Tensor | None:
        """inverse_affine after to_input."""
        if inverse_affine is None or self.to_input is None:
            return self.to_input if inverse_affine is None else inverse_affine
        linear, offset = self.to_input[:, :2], self.to_input[:, 2:]
        outer = inverse_affine.double()
        return torch.cat((outer[..., :2] @ linear, outer[..., :2] @ offset + outer[..., 2:]), -1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Other devices, but not other dtypes: half precision is not enough for a picture's coordinates."""
        matrix = self.to_input
        super()._apply(fn, recurse)
        if matrix is not None and self.to_input is not None:
            self.to_input = matrix.to(self.to_input.device)
        return self
