"""`fuse` puts fused modules into a network of plain ones, `unfuse` takes them out again."""

from hgfast.fusion.fuse import FusionReport, fuse, unfuse

__all__ = ["FusionReport", "fuse", "unfuse"]
