"""The formats of annotations: each a reader, and where its keypoints and boxes come from. A new one is one more row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hgfast.data.coco import load_coco, load_coco_detections
from hgfast.data.coco_categories import coco_keypoints
from hgfast.data.deeplabcut import deeplabcut_keypoints, load_deeplabcut
from hgfast.data.frames import check_pictures
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.keypoints import MPII, known_name
from hgfast.data.mpii import load_mpii
from hgfast.data.mpii_mat import load_mpii_mat
from hgfast.data.person import Person
from hgfast.data.princeton import load_princeton
from hgfast.data.sleap import load_sleap, sleap_keypoints


@dataclass(frozen=True)
class Source:
    """What a reader is told; each takes of it what it needs.

    Attributes:
        annotations: file or folder.
        images: folder of the pictures; "" for where the format has them.
        table: keypoints to be read.
        boxes: "given", "picture" or "keypoints".
        outside: what becomes of points outside of their picture: "error", "hide" or "keep".
        pixel_origin: of MPII.
        head_boxes: of MPII; "" for none.
        detections: of COCO; "" for the annotated boxes.
    """

    annotations: str
    images: str
    table: KeypointSet
    boxes: str
    outside: str = "error"
    pixel_origin: int = 0
    head_boxes: str = ""
    detections: str = ""


@dataclass(frozen=True)
class Format:
    """One format of annotations.

    Attributes:
        read: gives the persons of a source.
        keypoints: gives the keypoints that a file or folder says it has.
        boxes: words that the setting ``boxes`` may be, the usual one first.
        fixed: the keypoints where the format has only these.
    """

    read: Callable[[Source], list[Person]]
    keypoints: Callable[[str | Path], KeypointSet]
    boxes: tuple[str, ...]
    fixed: KeypointSet | None = None


def _coco(source: Source) -> list[Person]:
    if source.detections:
        return load_coco_detections(source.annotations, source.images, source.detections, table=source.table)
    if known_name(source.table):  # as MMPose reads these
        return load_coco(source.annotations, source.images, source.table, source.boxes)
    persons = load_coco(source.annotations, source.images, source.table, source.boxes, source.outside)
    check_pictures(persons, source.annotations)
    return persons


def _mpii(source: Source) -> list[Person]:
    return load_mpii(source.annotations, source.images, source.pixel_origin, source.head_boxes or None)


def _princeton(source: Source) -> list[Person]:
    return load_princeton(source.annotations, source.images, source.pixel_origin)


def _deeplabcut(source: Source) -> list[Person]:
    return load_deeplabcut(source.annotations, source.images, source.table, source.boxes, source.outside)


def _sleap(source: Source) -> list[Person]:
    return load_sleap(source.annotations, source.images, source.table, source.boxes, source.outside)


def _mpii_mat(source: Source) -> list[Person]:
    return load_mpii_mat(source.annotations, source.images, source.pixel_origin)


def _mpii_keypoints(annotations: str | Path) -> KeypointSet:
    return MPII


_WITHOUT_BOXES = ("picture", "keypoints")
FORMATS: dict[str, Format] = {
    "mpii": Format(_mpii, _mpii_keypoints, ("given",), MPII),
    "coco": Format(_coco, coco_keypoints, ("given", "picture", "keypoints")),
    "princeton": Format(_princeton, _mpii_keypoints, ("given",), MPII),
    "deeplabcut": Format(_deeplabcut, deeplabcut_keypoints, _WITHOUT_BOXES),
    "lightningpose": Format(_deeplabcut, deeplabcut_keypoints, _WITHOUT_BOXES),
    "sleap": Format(_sleap, sleap_keypoints, _WITHOUT_BOXES),
    "mpii-mat": Format(_mpii_mat, _mpii_keypoints, ("given",), MPII),
}
