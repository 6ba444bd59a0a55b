"""Measures of accuracy: PCKh (MPII), PCK, AUC and EPE (hands), NME (faces)."""

from hgfast.metrics.coco import coco_ap, coco_results, oks, oks_nms
from hgfast.metrics.mpii import pckh
from hgfast.metrics.pck import auc, epe, heatmap_pck, nme, pck

__all__ = ["auc", "coco_ap", "coco_results", "epe", "heatmap_pck", "nme", "oks", "oks_nms", "pck", "pckh"]
