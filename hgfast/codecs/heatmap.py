"""Heatmap codecs: keypoints to training targets, and heatmaps back to keypoints."""

from __future__ import annotations

import torch
from torch import Tensor

from hgfast.ops import decode_heatmaps, gaussian_heatmaps


class HeatmapCodec:
    """What all codecs share; the kinds of targets are those of :func:`hgfast.ops.gaussian_heatmaps`.

    Attributes:
        input_size: (width, height) of the network's input.
        heatmap_size: (width, height) of its heatmaps.
        sigma: standard deviation of the targets, heatmap pixels.
        kind: of the targets.
        method: of :func:`hgfast.ops.decode_heatmaps`.
        blur_kernel_size: of that method.
    """

    kind: str
    method: str

    def __init__(
        self, input_size: tuple[int, int], heatmap_size: tuple[int, int], sigma: float, blur_kernel_size: int = 11
    ) -> None:
        for name, size in (("input_size", input_size), ("heatmap_size", heatmap_size)):
            if len(size) != 2 or not all(isinstance(side, int) and side > 1 for side in size):
                raise ValueError(f"{name}: expected (width, height), whole numbers above 1, got {size!r}")
        if not sigma > 0:
            raise ValueError(f"sigma: expected a positive number, got {sigma!r}")
        self.input_size = (input_size[0], input_size[1])
        self.heatmap_size = (heatmap_size[0], heatmap_size[1])
        self.sigma = float(sigma)
        self.blur_kernel_size = blur_kernel_size

    def encode(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Targets of a batch.

        Args:
            keypoints: (N, K, 2), x and y in pixels of the network's input.
            visible: (N, K); below 0.5 no target is drawn.

        Returns:
            heatmaps (N, K, H, W) float32 and weights (N, K) float32, see :func:`hgfast.ops.gaussian_heatmaps`.

        Raises:
            TypeError, ValueError: tensors of another kind or shape.
        """
        points = keypoints.float() / self.encode_scale().to(keypoints.device)
        return gaussian_heatmaps(points, visible, self.heatmap_size, self.sigma, self.kind)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints of a batch of heatmaps.

        Args:
            heatmaps: (N, K, H, W) of ``heatmap_size``, floating point.

        Returns:
            keypoints (N, K, 2) in pixels of the network's input, and scores (N, K), the maxima.

        Raises:
            TypeError, ValueError: not heatmaps of that size.
        """
        points, scores = decode_heatmaps(heatmaps, self.method, self.blur_kernel_size)
        if tuple(heatmaps.shape[2:]) != self.heatmap_size[::-1]:
            raise ValueError(
                f"heatmaps: expected shape (N, K, {self.heatmap_size[1]}, {self.heatmap_size[0]}), "
                f"got {tuple(heatmaps.shape)}"
            )
        return points * self.decode_scale().to(points), scores

    def encode_scale(self) -> Tensor:
        """Input pixels to a heatmap pixel, float32 (2,)."""
        return _ratio(self.input_size, self.heatmap_size)

    def decode_scale(self) -> Tensor:
        """What decoded positions are multiplied by to become input pixels, float32 (2,)."""
        return self.encode_scale()


class MSRAHeatmap(HeatmapCodec):
    """MMPose's ``MSRAHeatmap`` (Xiao et al., ECCV 2018), and with ``unbiased`` DARK (Zhang et al., CVPR 2020).

    Targets are Gaussians about the nearest pixel (``unbiased``: about the keypoint itself); decoding takes the maximum
    and moves it by a quarter of a pixel (``unbiased``: by a Newton step on the blurred map's logarithm). A heatmap
    pixel x is at input pixel x * stride, without half a pixel, as in the peer.

    Args:
        input_size: (width, height) of the network's input.
        heatmap_size: (width, height) of its heatmaps.
        sigma: of the Gaussians, heatmap pixels.
        unbiased: see above.
        blur_kernel_size: of decoding with ``unbiased``: 11 for sigma 2, 17 for sigma 3.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigma: float,
        unbiased: bool = False,
        blur_kernel_size: int = 11,
    ) -> None:
        super().__init__(input_size, heatmap_size, sigma, blur_kernel_size)
        self.unbiased = unbiased
        self.kind, self.method = ("unbiased", "dark") if unbiased else ("msra", "quarter")


class UDPHeatmap(HeatmapCodec):
    """MMPose's ``UDPHeatmap`` with Gaussian maps (Huang et al., CVPR 2020).

    Sizes are measured between the centres of the outermost pixels: encoding divides by (input - 1) / (heatmap - 1).
    Decoding multiplies by input / (heatmap - 1), as the peer does, although the inverse would be (input - 1).
    An empty map gives (-1, -1) in the heatmap; the peer gives NaN there and lets it leak into the next map.
    """

    kind, method = "udp", "dark_udp"

    def encode_scale(self) -> Tensor:
        """Input pixels to a heatmap pixel, float32 (2,)."""
        return _ratio(_less_one(self.input_size), _less_one(self.heatmap_size))

    def decode_scale(self) -> Tensor:
        """What decoded positions are multiplied by to become input pixels, float32 (2,)."""
        return _ratio(self.input_size, _less_one(self.heatmap_size))


class NewellHeatmap(HeatmapCodec):
    """Targets and decoding of princeton-vl/pytorch_stacked_hourglass (Newell et al., ECCV 2016).

    Targets are Gaussians about the truncated position; decoding always takes a quarter step and adds half a pixel.
    """

    kind, method = "newell", "newell"


def _ratio(a: tuple[int, int], b: tuple[int, int]) -> Tensor:
    return (torch.tensor(a, dtype=torch.float64) / torch.tensor(b, dtype=torch.float64)).float()


def _less_one(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] - 1, size[1] - 1
