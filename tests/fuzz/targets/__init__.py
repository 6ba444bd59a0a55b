"""The targets, a file for each part of the package; importing this registers them all."""

from tests.fuzz.targets import decode_ops, heatmap_ops, ops

__all__ = ["decode_ops", "heatmap_ops", "ops"]
