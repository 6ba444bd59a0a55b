"""What is exported: a plain network, with what stands before and behind it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import reference
from hgfast.codecs import HeatmapCodec
from hgfast.fusion import unfuse
from hgfast.reference.flip_merge import apply_affine


class Deployed(nn.Module):
    """An unfused copy of a network, of torch's own operators throughout.

    Args:
        model: gives heatmaps (N, K, h, w) for images (N, 3, H, W), or a list of them, the last of which counts.
        codec: decodes the heatmaps, as :class:`hgfast.reference` does; None leaves them.
        pixels: mean and std (red, green, blue, of 0..255) that images are normalised by; None: they are already.

    Shapes: images (N, 3, H, W) float32, red-green-blue; out: heatmaps (N, K, h, w), or keypoints (N, K, 2) in pixels of
    the images and scores (N, K), float32.
    """

    to_input: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        codec: HeatmapCodec | None = None,
        pixels: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.network = unfuse(copy.deepcopy(model)).eval().float().cpu()
        self.network.requires_grad_(False)
        self.codec = codec
        self.is_normalising = pixels is not None
        if pixels is not None:
            for name, part in zip(("mean", "std"), pixels, strict=True):
                self.register_buffer(name, torch.tensor(part, dtype=torch.float32).view(3, 1, 1))
        if codec is not None:
            self.register_buffer("to_input", codec.to_input_matrix()[None])

    @property
    def outputs(self) -> list[str]:
        """Names of what it gives."""
        return ["heatmaps"] if self.codec is None else ["keypoints", "scores"]

    def as_taken(self, normalised: Tensor) -> Tensor:
        """Normalised images as it takes them."""
        return normalised * self.std + self.mean if self.is_normalising else normalised

    def forward(self, images: Tensor) -> Any:
        """Return heatmaps, or keypoints and scores."""
        if self.is_normalising:
            images = (images - self.mean) / self.std
        heatmaps = self.network(images)
        heatmaps = heatmaps if isinstance(heatmaps, Tensor) else heatmaps[-1]
        if self.codec is None:
            return heatmaps
        points, scores = reference.decode_heatmaps(heatmaps, self.codec.method, self.codec.blur_kernel_size)
        return apply_affine(points, self.to_input), scores
