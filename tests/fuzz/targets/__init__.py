"""The targets, a file for each part of the package; importing this registers them all."""

from tests.fuzz.targets import annotations, codecs, decode_ops, heatmap_ops, metrics, ops, pictures, viz

__all__ = ["annotations", "codecs", "decode_ops", "heatmap_ops", "metrics", "ops", "pictures", "viz"]
