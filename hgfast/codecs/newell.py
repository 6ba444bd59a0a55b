"""The codec of princeton-vl's stacked hourglass."""

from __future__ import annotations

from torch import Tensor

from hgfast import _checks
from hgfast.codecs.heatmap import LONGEST_SIDE, HeatmapCodec
from hgfast.ops.gaussian_heatmaps import gaussian_heatmaps
from hgfast.ops.keypoint_mse import keypoint_mse


class NewellHeatmap(HeatmapCodec):
    """Targets and decoding of princeton-vl/pytorch_stacked_hourglass (Newell et al., ECCV 2016).

    Targets are Gaussians about the truncated position; decoding always takes a quarter step and adds half a pixel.
    In the loss all maps count, and those of joints that are not labelled are to be empty.

    Args:
        input_size, heatmap_size: as for :class:`MSRAHeatmap`.
        sigma: of the Gaussians, heatmap pixels; default: the peer's, width of the heatmap / 64.
    """

    kind, method = "newell", "newell"

    def __init__(self, input_size: tuple[int, int], heatmap_size: tuple[int, int], sigma: float | None = None) -> None:
        if sigma is None:
            sigma = _checks.size("NewellHeatmap", "heatmap_size", heatmap_size, 2, LONGEST_SIDE)[0] / 64
        super().__init__(input_size, heatmap_size, sigma)

    def _loss(self, stacks: list[Tensor], points: Tensor, visible: Tensor) -> Tensor:
        targets, _ = gaussian_heatmaps(points, visible, self.heatmap_size, self.sigma, self.kind)
        return keypoint_mse(stacks, targets)
