"""MMPose 1.3's training pipeline of td-hm_hourglass52_8xb64-210e_mpii-256x256, written out step by step.

The same work by the same calls in the same order, in numpy, OpenCV and SciPy: read, box, mirror the whole picture, turn
and scale the box, warp, targets, pack; then, for a batch, stack and normalise. What MMPose adds in objects (registry,
PoseDataSample, InstanceData) is left out, in its favour. tests/test_loader.py holds it against MMPose's own results.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from scipy.stats import truncnorm
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.bench_targets import mmpose_encode
from hgfast.data import MPII, Person

FLIP = list(MPII.flip_indices)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
Sample = dict[str, Any]
Drawn = tuple[bool, float, float]  # mirrored, scale factor, degrees


def load_image(sample: Sample) -> None:
    """LoadImage: the file's bytes through cv2.imdecode."""
    with open(sample["img_path"], "rb") as file:
        data = np.frombuffer(file.read(), np.uint8)
    sample["img"] = cv2.imdecode(data, cv2.IMREAD_COLOR)


def get_bbox_center_scale(sample: Sample, padding: float = 1.25) -> None:
    """GetBBoxCenterScale: MPII gives centre and scale; the scale is padded."""
    sample["bbox_scale"] = sample["bbox_scale"] * np.float32(padding)


def random_flip(sample: Sample, flip: bool) -> None:
    """RandomFlip: a mirrored view of the picture, and boxes and joints to match."""
    if not flip:
        return
    width = sample["img"].shape[1]
    sample["img"] = np.flip(sample["img"], axis=1)
    sample["bbox_center"][:, 0] = width - 1 - sample["bbox_center"][:, 0]
    keypoints = sample["keypoints"][:, FLIP].copy()
    keypoints[..., 0] = width - 1 - keypoints[..., 0]
    sample["keypoints"], sample["keypoints_visible"] = keypoints, sample["keypoints_visible"][:, FLIP]


def random_bbox_transform(sample: Sample, scale: float, rotation: float) -> None:
    """RandomBBoxTransform, without shift as for MPII."""
    sample["bbox_scale"] = sample["bbox_scale"] * np.float32(scale)
    sample["bbox_rotation"] = np.array([rotation], np.float32)


def draw() -> Drawn:
    """The random numbers of RandomFlip and RandomBBoxTransform, drawn as these do it."""
    flip = np.random.choice(["horizontal", ""], p=[0.5, 0.5]) == "horizontal"
    values = truncnorm.rvs(-1.0, 1.0, size=(1, 4)).astype(np.float32)
    rotation = np.where(np.random.rand(1) < 0.6, values[:, 3] * 80.0, 0.0)
    return bool(flip), float(1 + 0.5 * values[0, 2]), float(rotation[0])


def get_warp_matrix(center: np.ndarray, scale: np.ndarray, rotation: float, out: tuple[int, int]) -> np.ndarray:
    """The map of three points, as mmpose.structures.bbox.get_warp_matrix has it."""
    angle = np.deg2rad(rotation)
    cos, sin = np.cos(angle), np.sin(angle)

    def rotate(point: np.ndarray) -> np.ndarray:
        return np.array([[cos, -sin], [sin, cos]]) @ point

    def third(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return b + np.r_[-(a - b)[1], (a - b)[0]]

    source, target = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)
    source[0] = center
    source[1] = center + rotate(np.array([scale[0] * -0.5, 0.0]))
    source[2] = third(source[0], source[1])
    target[0] = [out[0] * 0.5, out[1] * 0.5]
    target[1] = target[0] + np.array([out[0] * -0.5, 0.0])
    target[2] = third(target[0], target[1])
    return cv2.getAffineTransform(source, target)


def topdown_affine(sample: Sample, out: tuple[int, int]) -> None:
    """TopdownAffine: aspect ratio, matrix, warp of the uint8 picture, joints along."""
    width, height = np.hsplit(sample["bbox_scale"], [1])
    aspect = out[0] / out[1]
    scale = np.where(width > height * aspect, np.hstack([width, width / aspect]), np.hstack([height * aspect, height]))
    matrix = get_warp_matrix(sample["bbox_center"][0], scale[0], sample["bbox_rotation"][0], out)
    sample["img"] = cv2.warpAffine(sample["img"], matrix, out, flags=cv2.INTER_LINEAR)
    sample["transformed_keypoints"] = cv2.transform(sample["keypoints"].copy(), matrix)


def pack(sample: Sample) -> dict[str, Any]:
    """PackPoseInputs: the picture as a contiguous (3, H, W) tensor, targets as tensors."""
    return {
        "inputs": torch.from_numpy(np.ascontiguousarray(sample["img"].transpose(2, 0, 1))),
        "heatmaps": torch.from_numpy(sample["heatmaps"]),
        "keypoint_weights": torch.from_numpy(sample["keypoints_visible"]),
    }


def transform(sample: Sample, drawn: Drawn, out: tuple[int, int]) -> Sample:
    """Everything up to the targets for one sample, with given random numbers."""
    load_image(sample)
    get_bbox_center_scale(sample)
    random_flip(sample, drawn[0])
    random_bbox_transform(sample, drawn[1], drawn[2])
    topdown_affine(sample, out)
    points = sample["transformed_keypoints"] / 4
    sample["heatmaps"] = mmpose_encode(points, sample["keypoints_visible"], out[0] // 4)
    return sample


def normalise(batch: Sequence[Tensor], device: str = "cpu") -> Tensor:
    """PoseDataPreprocessor: stack, to the device, blue-green-red to red-green-blue, normalise; (N, 3, H, W) float32."""
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(STD, device=device).view(3, 1, 1)
    return torch.stack([(image.to(device)[[2, 1, 0]].float() - mean) / std for image in batch])


class MMPoseDataset(Dataset[dict[str, Any]]):
    """Samples of persons by :func:`transform`; annotations are kept pickled, as mmengine does."""

    def __init__(self, persons: Sequence[Person], out: tuple[int, int]) -> None:
        self.out = out
        self.stored = [pickle.dumps(annotation(person)) for person in persons]

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return pack(transform(pickle.loads(self.stored[number]), draw(), self.out))


def annotation(person: Person) -> Sample:
    """A person in the form of MMPose's data sets."""
    return {
        "img_path": str(person.image),
        "bbox_center": person.center[None].copy(),
        "bbox_scale": person.size[None].copy(),
        "keypoints": person.keypoints[None].copy(),
        "keypoints_visible": person.visible[None].copy(),
    }
