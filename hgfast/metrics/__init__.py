"""Measures of accuracy: PCKh and its AUC (MPII), AP (COCO), PCK, AUC and EPE (hands), NME (faces)."""

from hgfast.metrics.coco import coco_ap, coco_results, oks, oks_nms
from hgfast.metrics.mpii import pckh, pckh_auc
from hgfast.metrics.pck import auc, epe, heatmap_pck, nme, pck

__all__ = ["auc", "coco_ap", "coco_results", "epe", "heatmap_pck", "nme", "oks", "oks_nms", "pck", "pckh", "pckh_auc"]
