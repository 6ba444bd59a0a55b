"""MMPose's MSRAHeatmap, and DARK."""

from __future__ import annotations

from hgfast import _checks
from hgfast.codecs.heatmap import HeatmapCodec


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
        self.unbiased = _checks.flag("MSRAHeatmap", "unbiased", unbiased)
        self.kind, self.method = ("unbiased", "dark") if self.unbiased else ("msra", "quarter")
