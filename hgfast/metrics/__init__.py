"""Measures of accuracy: PCKh (MPII), PCK, AUC and EPE (hands), NME (faces)."""

from hgfast.metrics.mpii import pckh
from hgfast.metrics.pck import auc, epe, heatmap_pck, nme, pck

__all__ = ["auc", "epe", "heatmap_pck", "nme", "pck", "pckh"]
