"""Predictions as the demos of MMPose 1.x save them: the keypoints' description, then the instances of each frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hgfast import _checks
from hgfast.data.keypoint_set import KeypointSet


def pose_metainfo(table: KeypointSet) -> dict[str, Any]:
    """Return what MMPose calls a data set's ``metainfo``, without the colours.

    Raises:
        TypeError: not a KeypointSet.
    """
    _checks.instance("pose_metainfo", "table", table, KeypointSet)
    pairs = table.pairs or ()
    return {
        "dataset_name": table.name,
        "num_keypoints": table.count,
        "keypoint_id2name": dict(enumerate(table.names)),
        "keypoint_name2id": {name: number for number, name in enumerate(table.names)},
        "upper_body_ids": list(table.upper),
        "lower_body_ids": [k for k in range(table.count) if k not in table.upper] if table.upper else [],
        "flip_indices": list(table.flip_indices) if table.mirrors else list(range(table.count)),
        "flip_pairs": [[table.names[joint] for joint in pair] for pair in pairs],
        "num_skeleton_links": len(table.skeleton),
        "skeleton_links": [list(link) for link in table.skeleton],
        "sigmas": list(table.sigmas),
    }


def mmpose_predictions(table: KeypointSet, frames: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """``{"meta_info": ..., "instance_info": [...]}``.

    Args:
        table: the keypoints.
        frames: ``{"frame_id": number, "instances": [...]}`` of each frame, see :func:`hgfast.results.instances`.

    Raises:
        TypeError: arguments of another type.
    """
    if not isinstance(frames, Iterable):
        raise TypeError(f"mmpose_predictions: frames must be a list of frames, got {_checks.describe(frames)}")
    return {"meta_info": pose_metainfo(table), "instance_info": list(frames)}
