"""MMPose's UDPHeatmap."""

from __future__ import annotations

from torch import Tensor

from hgfast import _checks
from hgfast.codecs.heatmap import HeatmapCodec, ratio


class UDPHeatmap(HeatmapCodec):
    """MMPose's ``UDPHeatmap`` with Gaussian maps (Huang et al., CVPR 2020).

    Sizes are measured between the centres of the outermost pixels: encoding divides by (input - 1) / (heatmap - 1).
    Decoding multiplies by input / (heatmap - 1), as the peer does, although the inverse would be (input - 1).
    An empty map gives (-1, -1) in the heatmap; the peer gives NaN there and lets it leak into the next map.

    Args:
        input_size, heatmap_size, sigma, blur_kernel_size: as for :class:`MSRAHeatmap`.
        heatmap_type: "gaussian"; the peer's "combined" maps with offsets have no hourglass checkpoints.
    """

    kind, method, udp = "udp", "dark_udp", True

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigma: float = 2.0,
        blur_kernel_size: int = 11,
        *,
        heatmap_type: str = "gaussian",
    ) -> None:
        _checks.choice(type(self).__name__, "heatmap_type", heatmap_type, ("gaussian",))
        super().__init__(input_size, heatmap_size, sigma, blur_kernel_size)

    def encode_scale(self) -> Tensor:
        """Return how many input pixels a heatmap pixel has, float32 (2,)."""
        return ratio(_less_one(self.input_size), _less_one(self.heatmap_size))

    def decode_scale(self) -> Tensor:
        """Return the factors that make input pixels of decoded positions, float32 (2,)."""
        return ratio(self.input_size, _less_one(self.heatmap_size))


def _less_one(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] - 1, size[1] - 1
