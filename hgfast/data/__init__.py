"""Data sets, keypoint tables, crops and augmentation."""

from hgfast.data.augment import Augmentation, Change
from hgfast.data.coco import load_coco, load_coco_detections
from hgfast.data.coco_categories import coco_keypoints
from hgfast.data.dataset import EpochSampler, PoseDataset
from hgfast.data.deeplabcut import deeplabcut_keypoints, load_deeplabcut
from hgfast.data.images import crop, network_input, person_matrix, read_image
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.keypoints import COCO, FACE, HAND, KEYPOINT_SETS, MPII, keypoint_set
from hgfast.data.loader import make_loader
from hgfast.data.mpii import load_mpii
from hgfast.data.mpii_mat import load_mpii_mat
from hgfast.data.person import AnnotationError, Person
from hgfast.data.princeton import load_princeton
from hgfast.data.sleap import load_sleap, sleap_keypoints

__all__ = [
    "COCO",
    "FACE",
    "HAND",
    "KEYPOINT_SETS",
    "MPII",
    "AnnotationError",
    "Augmentation",
    "Change",
    "EpochSampler",
    "KeypointSet",
    "Person",
    "PoseDataset",
    "coco_keypoints",
    "crop",
    "deeplabcut_keypoints",
    "keypoint_set",
    "load_coco",
    "load_coco_detections",
    "load_deeplabcut",
    "load_mpii",
    "load_mpii_mat",
    "load_princeton",
    "load_sleap",
    "make_loader",
    "network_input",
    "person_matrix",
    "read_image",
    "sleap_keypoints",
]
