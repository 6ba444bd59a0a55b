"""Codecs by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hgfast import _checks
from hgfast.codecs.heatmap import HeatmapCodec
from hgfast.codecs.msra import MSRAHeatmap
from hgfast.codecs.newell import NewellHeatmap
from hgfast.codecs.udp import UDPHeatmap
from hgfast.codecs.udp_exact import ExactUDPHeatmap

CODECS: dict[str, Callable[..., HeatmapCodec]] = {
    "msra": MSRAHeatmap,
    "unbiased": partial(MSRAHeatmap, unbiased=True),
    "udp": UDPHeatmap,
    "udp_exact": ExactUDPHeatmap,
    "newell": NewellHeatmap,
}


def build(name: str, input_size: tuple[int, int], heatmap_size: tuple[int, int], sigma: float) -> HeatmapCodec:
    """Build a codec by its name, the one that the setting ``codec`` of a training run has.

    Args:
        name: a key of :data:`CODECS`.
        input_size: (width, height) of the network's input.
        heatmap_size: (width, height) of its heatmaps.
        sigma: standard deviation of the targets, heatmap pixels.

    Raises:
        TypeError, ValueError: there is no codec of that name, or it does not take these values.
    """
    _checks.choice("build", "name", name, CODECS)
    return CODECS[name](input_size, heatmap_size, sigma)
