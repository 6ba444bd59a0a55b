"""Measures of accuracy: PCKh and its AUC (MPII), AP by OKS (COCO), PCK, AUC, EPE (hands), NME (faces), pixel errors."""

from hgfast.metrics.coco import coco_ap, coco_results, oks, oks_ap, oks_nms
from hgfast.metrics.mpii import pckh, pckh_auc
from hgfast.metrics.pck import auc, epe, heatmap_pck, nme, pck, pixel_errors

__all__ = [
    "auc",
    "coco_ap",
    "coco_results",
    "epe",
    "heatmap_pck",
    "nme",
    "oks",
    "oks_ap",
    "oks_nms",
    "pck",
    "pckh",
    "pckh_auc",
    "pixel_errors",
]
