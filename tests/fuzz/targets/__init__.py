"""The targets, a file for each part of the package; importing this registers them all."""

from tests.fuzz.targets import (
    annotations,
    checkpoints,
    codecs,
    commands,
    decode_ops,
    heatmap_ops,
    metrics,
    modules,
    networks,
    ops,
    pictures,
    prediction,
    raw_ops,
    settings,
    training,
    viz,
)

__all__ = [
    "annotations",
    "checkpoints",
    "codecs",
    "commands",
    "decode_ops",
    "heatmap_ops",
    "metrics",
    "modules",
    "networks",
    "ops",
    "pictures",
    "prediction",
    "raw_ops",
    "settings",
    "training",
    "viz",
]
