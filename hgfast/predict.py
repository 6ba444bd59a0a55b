"""From pictures or videos and boxes to keypoints in picture pixels."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, overload

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from hgfast import ops
from hgfast.codecs import UDPHeatmap
from hgfast.codecs.affine import box_center_size
from hgfast.data.images import IMAGENET_MEAN, IMAGENET_STD, crop, network_input, person_matrix, read_image
from hgfast.data.keypoints import MPII, KeypointSet
from hgfast.data.video import read_frames
from hgfast.frozen import freeze as freeze_network

Image = np.ndarray | str | Path
Boxes = Any  # (P, 4) array or nested list: x1, y1, x2, y2 in pixels, before padding; None is the whole picture

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
log = logging.getLogger("hgfast")


class Prediction(NamedTuple):
    """Keypoints of the P persons of a picture.

    Attributes:
        keypoints: (P, K, 2) float32, x and y in pixels of the picture, the first pixel is 0.
        scores: (P, K) float32, the maxima of the heatmaps.
    """

    keypoints: np.ndarray
    scores: np.ndarray


class Seen(NamedTuple):
    """A picture and what was found in it.

    Attributes:
        image: uint8 (H, W, 3), blue-green-red.
        boxes: (P, 4) float32, x1, y1, x2, y2.
        prediction: keypoints and scores of these P persons.
    """

    image: np.ndarray
    boxes: np.ndarray
    prediction: Prediction


class Predictor:
    """Runs a network on persons in pictures.

    Args:
        model: gives a list of heatmaps (N, K, h, w), the last of which counts; it is put into evaluation mode.
        codec: of :mod:`hgfast.codecs`, with ``input_size`` and ``decode``.
        keypoints: the K keypoints (which change places in a mirrored picture).
        device: where the model runs; default: where its parameters are.
        flip_test: also run the mirrored picture and average.
        shift_heatmap: move the mirrored heatmaps by one pixel before averaging; default: as the codec's peer does.
        batch_size: persons a batch; with the flip test the network sees twice as many pictures at once.
        padding: how much larger than the box the crop is.
        mean: red, green, blue, 0..255, taken off the input.
        std: the input is divided by.
        amp: "off", "bf16" or "fp16": precision of the network, on the CPU by autocast.
        freeze: run :func:`hgfast.freeze`'s form of the model, with its weights as they are now (changes that are made
            to the model later have no effect). Where there is none of this model, precision or device, the model runs
            as it is, and a warning of the logger "hgfast" says why.

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
        freeze: bool = True,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if amp not in ("off", *_DTYPES):
            raise ValueError(f"amp: expected one of off, {', '.join(_DTYPES)}, got {amp!r}")
        self.model = model.eval()
        self.device = torch.device(device) if device is not None else _device_of(model)
        self.model.to(self.device)
        self.codec = codec
        self.table = keypoints
        self.flip_test = flip_test
        self.udp = isinstance(codec, UDPHeatmap)
        self.shift_heatmap = codec.method not in ("dark_udp", "newell") if shift_heatmap is None else shift_heatmap
        self.batch_size = batch_size
        self.padding = padding
        self.mean, self.std = mean, std
        self.amp = amp
        self.network = _inference_form(self.model, amp) if freeze else self.model

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
        pairs = zip(images, repeat(None) if boxes is None else boxes, strict=False)
        return [seen.prediction for seen in self.stream(pairs)]

    def stream(self, pictures: Iterable[tuple[Image, Boxes]]) -> Iterator[Seen]:
        """Keypoints of any number of pictures, one after the other, without holding them all.

        Args:
            pictures: each a picture and its boxes, as for a call. Persons of several pictures share a batch, so up to
                ``batch_size`` persons are read ahead.

        Yields:
            each picture with its boxes and what was found.

        Raises:
            As a call does; ``images[i]`` and ``boxes[i]`` in a message count the pictures.
        """
        waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
        crops: list[tuple[np.ndarray, np.ndarray]] = []
        found = self._batch([])
        for number, (item, boxes) in enumerate(pictures):
            image = _as_image(item, number)
            persons = _as_boxes(boxes, image, number)
            waiting.append((image, persons))
            crops += self._crops(image, persons)
            while len(crops) >= self.batch_size:
                found, crops = _joined(found, self._batch(crops[: self.batch_size])), crops[self.batch_size :]
            while waiting and len(waiting[0][1]) <= len(found.scores):
                found, seen = _taken(found, *waiting.popleft())
                yield seen
        found = _joined(found, self._batch(crops))
        while waiting:
            found, seen = _taken(found, *waiting.popleft())
            yield seen

    def video(self, path: str | Path, boxes: Boxes | Callable[[np.ndarray], Boxes] = None) -> Iterator[Seen]:
        """Keypoints in every frame of a video.

        Args:
            path: any video that OpenCV reads.
            boxes: the same (P, 4) for all frames, None for the whole frame, or a function that finds the boxes in a
                frame (uint8 (H, W, 3), blue-green-red).

        Yields:
            each frame with its boxes and what was found.

        Raises:
            FileNotFoundError, ValueError: no such file, not a video, or boxes that do not fit.
        """
        find = boxes if callable(boxes) else lambda _: boxes
        return self.stream((frame, find(frame)) for frame in read_frames(path))

    def _crops(self, image: np.ndarray, boxes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Crop and map back to the picture, (2, 3), for each person."""
        made = []
        for center, size in zip(*box_center_size(boxes, self.padding), strict=True):
            matrix = person_matrix(center, size, self.codec.input_size, udp=self.udp)
            made.append((crop(image, matrix, self.codec.input_size), cv2.invertAffineTransform(matrix)))
        return made

    def _batch(self, crops: list[tuple[np.ndarray, np.ndarray]]) -> Prediction:
        if not crops:
            count = self.table.count
            return Prediction(np.zeros((0, count, 2), np.float32), np.zeros((0, count), np.float32))
        images, inverses = zip(*crops, strict=True)
        inverse = torch.from_numpy(np.stack(inverses).astype(np.float32))
        points, scores = self.predict_crops(torch.from_numpy(np.stack(images)), inverse)
        return Prediction(points.cpu().numpy(), scores.cpu().numpy())

    @torch.inference_mode()
    def predict_crops(self, crops: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints of a batch of crops.

        Args:
            crops: (N, H, W, 3) uint8, blue-green-red, on any device.
            inverse: (N, 2, 3) float32 maps from crop to picture.

        Returns:
            keypoints (N, K, 2) in picture pixels and scores (N, K), float32 on the model's device.
        """
        images = network_input(crops.to(self.device, non_blocking=True), self.mean, self.std)
        inverse = inverse.to(self.device, non_blocking=True)
        maps, *mirrored = self._run(images)
        if mirrored:
            indices, shift = self.table.flip_indices, self.shift_heatmap
            points, scores = self.codec.decode_flip(maps, mirrored[0], indices, inverse, shift)
        else:
            points, scores = self.codec.decode(maps, inverse)
        return points.float(), scores.float()

    @torch.inference_mode()
    def heatmaps(self, images: Tensor) -> Tensor:
        """Heatmaps (N, K, h, w) float32 of normalised images (N, 3, H, W), averaged with the mirrored ones."""
        maps, *mirrored = (part.float() for part in self._run(images))
        return ops.flip_merge(maps, mirrored[0], self.table.flip_indices, self.shift_heatmap) if mirrored else maps

    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        """Heatmaps of the images, and of their mirror images where these are wanted, all from one batch."""
        both = torch.cat([images, images.flip(3)]) if self.flip_test else images
        with autocast(self.device, self.amp):
            maps: Tensor = self.network(both)[-1]
        return maps.split(max(len(images), 1))


def _inference_form(model: nn.Module, amp: str) -> nn.Module:
    """hgfast.freeze's form of a network, or the network itself, and a warning, where there is none."""
    try:
        return freeze_network(model, _DTYPES.get(amp))
    except (TypeError, ValueError, RuntimeError) as error:
        log.warning("Predictor: the network runs as it is, not frozen (%s)", error)
        return model


def autocast(device: torch.device, amp: str) -> AbstractContextManager[Any]:
    """Autocast context for "bf16" or "fp16", none for "off"."""
    if amp == "off":
        return nullcontext()
    return torch.autocast(device.type, _DTYPES[amp])


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _joined(a: Prediction, b: Prediction) -> Prediction:
    return Prediction(*(np.concatenate(parts) for parts in zip(a, b, strict=True)))


def _taken(found: Prediction, image: np.ndarray, boxes: np.ndarray) -> tuple[Prediction, Seen]:
    """What is left after the persons of a picture, and that picture."""
    count = len(boxes)
    first, rest = Prediction(*(part[:count] for part in found)), Prediction(*(part[count:] for part in found))
    return rest, Seen(image, boxes, first)


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
