"""The targets, a file for each part of the package; importing this registers them all."""

from tests.fuzz.targets import (
    annotations,
    checkpoints,
    codecs,
    decode_ops,
    heatmap_ops,
    metrics,
    modules,
    networks,
    ops,
    pictures,
    prediction,
    settings,
    viz,
)

__all__ = [
    "annotations",
    "checkpoints",
    "codecs",
    "decode_ops",
    "heatmap_ops",
    "metrics",
    "modules",
    "networks",
    "ops",
    "pictures",
    "prediction",
    "settings",
    "viz",
]
