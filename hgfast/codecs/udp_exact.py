"""UDP's targets, decoded by what encoding divided by."""

from __future__ import annotations

from torch import Tensor

from hgfast.codecs.udp import UDPHeatmap


class ExactUDPHeatmap(UDPHeatmap):
    """UDP's Gaussian maps (Huang et al., CVPR 2020) without the bias of MMPose's decoder, for networks of one's own.

    :class:`UDPHeatmap` decodes as its peer does: x * input / (heatmap - 1), where encoding divided by
    (input - 1) / (heatmap - 1). What it finds lies too far right and down, by a pixel of the network's input at the
    right and the lower edge, half of that in the middle. Measures that forgive so much (PCKh, OKS) hardly show it; mean
    errors of a few pixels do, see docs/notebook.md. Published checkpoints are measured with the peer's.

    Args:
        input_size, heatmap_size, sigma, blur_kernel_size, heatmap_type: as for :class:`UDPHeatmap`.
    """

    def decode_scale(self) -> Tensor:
        """Return the factors that make input pixels of decoded positions, float32 (2,): those of encoding."""
        return self.encode_scale()
