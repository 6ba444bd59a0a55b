"""From pictures and boxes to keypoints in picture pixels."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, overload

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from hgfast import reference
from hgfast.codecs import UDPHeatmap
from hgfast.codecs.affine import box_center_size
from hgfast.data.images import IMAGENET_MEAN, IMAGENET_STD, crop, network_input, person_matrix, read_image
from hgfast.data.keypoints import MPII, KeypointSet

Image = np.ndarray | str | Path


class Prediction(NamedTuple):
    """Keypoints of the P persons of a picture.

    Attributes:
        keypoints: (P, K, 2) float32, x and y in pixels of the picture, the first pixel is 0.
        scores: (P, K) float32, the maxima of the heatmaps.
    """

    keypoints: np.ndarray
    scores: np.ndarray


class Predictor:
    """Runs a network on persons in pictures.

    Args:
        model: gives a list of heatmaps (N, K, h, w), the last of which counts; it is put into evaluation mode.
        codec: of :mod:`hgfast.codecs`, with ``input_size`` and ``decode``.
        keypoints: the K keypoints (which change places in a mirrored picture).
        device: where the model runs; default: where its parameters are.
        flip_test: also run the mirrored picture and average.
        shift_heatmap: move the mirrored heatmaps by one pixel before averaging; default: unless the codec is UDP.
        batch_size: persons a batch.
        padding: how much larger than the box the crop is.
        mean: red, green, blue, 0..255, taken off the input.
        std: the input is divided by.
        amp: "off", "bf16" or "fp16": autocast of the network.

    Example:
        >>> predictor = Predictor(model, codec)  # doctest: +SKIP
        >>> keypoints, scores = predictor("picture.jpg", [[x1, y1, x2, y2]])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        codec: Any,
        keypoints: KeypointSet = MPII,
        *,
        device: str | torch.device | None = None,
        flip_test: bool = True,
        shift_heatmap: bool | None = None,
        batch_size: int = 32,
        padding: float = 1.25,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        amp: str = "off",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        self.model = model.eval()
        self.device = torch.device(device) if device is not None else _device_of(model)
        self.model.to(self.device)
        self.codec = codec
        self.table = keypoints
        self.flip_test = flip_test
        self.udp = isinstance(codec, UDPHeatmap)
        self.shift_heatmap = not self.udp if shift_heatmap is None else shift_heatmap
        self.batch_size = batch_size
        self.padding = padding
        self.mean, self.std = mean, std
        self.amp = amp

    @overload
    def __call__(self, images: Image, boxes: Any = None) -> Prediction: ...

    @overload
    def __call__(self, images: list[Image] | list[Path], boxes: Any = None) -> list[Prediction]: ...

    def __call__(self, images: Image | list[Image] | list[Path], boxes: Any = None) -> Prediction | list[Prediction]:
        """Keypoints of every box.

        Args:
            images: a picture or a list of pictures: paths, or uint8 arrays (H, W, 3) in blue-green-red order, as
                OpenCV reads them.
            boxes: for one picture (P, 4), for a list a list of such: x1, y1, x2, y2 in pixels, before padding. None
                takes each picture as a whole.

        Returns:
            one :class:`Prediction`, or a list of them, in the order of the pictures.

        Raises:
            FileNotFoundError, ValueError: a picture is missing or broken, or the boxes do not fit.
            TypeError: a picture is neither a path nor a uint8 array.
        """
        if isinstance(images, (np.ndarray, str, Path)):
            return self([images], None if boxes is None else [boxes])[0]
        if boxes is not None and len(boxes) != len(images):
            raise ValueError(f"boxes: expected one array for each of {len(images)} pictures, got {len(boxes)}")
        crops, inverses, counts = [], [], []
        for number, item in enumerate(images):
            image = _as_image(item, number)
            persons = _as_boxes(None if boxes is None else boxes[number], image, number)
            counts.append(len(persons))
            for center, size in zip(*box_center_size(persons, self.padding), strict=True):
                matrix = person_matrix(center, size, self.codec.input_size, udp=self.udp)
                crops.append(crop(image, matrix, self.codec.input_size))
                inverses.append(cv2.invertAffineTransform(matrix))
        keypoints, scores = self._in_batches(crops, inverses)
        ends = np.cumsum([0, *counts])
        parts = [slice(first, last) for first, last in zip(ends[:-1], ends[1:], strict=True)]
        return [Prediction(keypoints[part], scores[part]) for part in parts]

    def _in_batches(self, crops: list[np.ndarray], inverses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        count = self.table.count
        keypoints, scores = np.zeros((len(crops), count, 2), np.float32), np.zeros((len(crops), count), np.float32)
        for first in range(0, len(crops), self.batch_size):
            part = slice(first, first + self.batch_size)
            batch = torch.from_numpy(np.stack(crops[part]))
            inverse = torch.from_numpy(np.stack(inverses[part]).astype(np.float32))
            points, values = self.predict_crops(batch, inverse)
            keypoints[part], scores[part] = points.cpu().numpy(), values.cpu().numpy()
        return keypoints, scores

    @torch.inference_mode()
    def predict_crops(self, crops: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints of a batch of crops.

        Args:
            crops: (N, H, W, 3) uint8, blue-green-red, on any device.
            inverse: (N, 2, 3) float32 maps from crop to picture.

        Returns:
            keypoints (N, K, 2) in picture pixels and scores (N, K), float32 on the model's device.
        """
        heatmaps = self.heatmaps(network_input(crops.to(self.device, non_blocking=True), self.mean, self.std))
        points, scores = self.codec.decode(heatmaps)
        inverse = inverse.to(self.device, non_blocking=True)
        return torch.einsum("nij,nkj->nki", inverse[:, :, :2], points) + inverse[:, None, :, 2], scores

    @torch.inference_mode()
    def heatmaps(self, images: Tensor) -> Tensor:
        """Heatmaps (N, K, h, w) float32 of normalised images (N, 3, H, W), averaged with the mirrored ones."""
        with autocast(self.device, self.amp):
            plain = self.model(images)[-1].float()
            if not self.flip_test:
                return plain
            mirrored = self.model(images.flip(3))[-1].float()
        return reference.flip_merge(plain, mirrored, self.table.flip_indices, shift=self.shift_heatmap)


def autocast(device: torch.device, amp: str) -> AbstractContextManager[Any]:
    """Autocast context for "bf16" or "fp16", none for "off"."""
    if amp == "off":
        return nullcontext()
    return torch.autocast(device.type, {"bf16": torch.bfloat16, "fp16": torch.float16}[amp])


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _as_image(item: Any, number: int) -> np.ndarray:
    if isinstance(item, (str, Path)):
        return read_image(item)
    if not isinstance(item, np.ndarray) or item.dtype != np.uint8:
        got = f"{item.dtype} array" if isinstance(item, np.ndarray) else type(item).__name__
        raise TypeError(f"images[{number}]: expected a path or a uint8 array (H, W, 3), got {got}")
    if item.ndim != 3 or item.shape[2] != 3 or 0 in item.shape:
        raise ValueError(f"images[{number}]: expected shape (H, W, 3), got {item.shape}")
    return item


def _as_boxes(boxes: Any, image: np.ndarray, number: int) -> np.ndarray:
    if boxes is None:
        return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
    array = np.asarray(boxes, np.float32)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes[{number}]: expected shape (P, 4), got {array.shape}")
    if not np.isfinite(array).all() or not (array[:, 2:] > array[:, :2]).all():
        raise ValueError(f"boxes[{number}]: expected finite x1 < x2 and y1 < y2, got {array.tolist()}")
    return array
