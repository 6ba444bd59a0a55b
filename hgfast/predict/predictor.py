"""The predictor: a network, run on persons in pictures."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from hgfast import _checks, ops
from hgfast._opencv import cv2
from hgfast.codecs import HeatmapCodec
from hgfast.codecs.affine import box_center_size
from hgfast.data.images import IMAGENET_MEAN, IMAGENET_STD, crop, network_input, person_matrix
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.keypoints import MPII
from hgfast.data.video import read_frames
from hgfast.predict.form import DTYPES, autocast, check_input_size, device_of, inference_form
from hgfast.predict.inputs import Boxes, Image, as_boxes, as_image, pairs_of
from hgfast.predict.results import Prediction, Seen, joined, taken

_MOST_PADDING = 1000
Person = tuple[np.ndarray, np.ndarray, np.ndarray]  # picture, centre and size of the box with padding
log = logging.getLogger("hgfast")


class Predictor:
    """Runs a network on persons in pictures.

    Args:
        model: gives heatmaps (N, K, h, w), or a list of them, the last of which counts; it is put into evaluation mode.
        codec: of :mod:`hgfast.codecs`: how pictures are cropped and heatmaps decoded.
        keypoints: the K keypoints (which change places in a mirrored picture).
        device: where the model runs; default: where its parameters are.
        flip_test: also run the mirrored picture and average; not where the keypoints have no mirror pairs.
        shift_heatmap: move the mirrored heatmaps by one pixel before averaging; default: as the codec's peer does.
        batch_size: persons a batch; with the flip test the network sees twice as many pictures at once.
        padding: how much larger than the box the crop is.
        mean: red, green, blue, 0..255, taken off the input.
        std: the input is divided by.
        amp: "off", "bf16" or "fp16": precision of the network, on the CPU by autocast.
        freeze: run :func:`hgfast.freeze`'s form of the model, with its weights as they are now (changes that are made
            to the model later have no effect). Where there is none of this model, precision or device, the model runs
            as it is, and a warning of the logger "hgfast" says why.
        whole_pictures: the model was trained on whole pictures, so that one without boxes is one individual. For other
            models a warning says so where there are no boxes, and ``boxes="picture"`` says that it is meant.

    Raises:
        TypeError: an argument of another type.
        ValueError: a value that is not finite or out of range, a device that this machine does not have, or an input
            size of the codec that the network cannot take.

    Example:
        >>> predictor = Predictor.from_checkpoint("runs/a/best.pt")  # doctest: +SKIP
        >>> keypoints, scores = predictor("picture.jpg", [[x1, y1, x2, y2]])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        codec: HeatmapCodec,
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
        whole_pictures: bool = False,
    ) -> None:
        where = "Predictor"
        _checks.instance(where, "model", model, nn.Module)
        _checks.instance(where, "codec", codec, HeatmapCodec)
        _checks.instance(where, "keypoints", keypoints, KeypointSet)
        self.codec, self.table = codec, keypoints
        self.device = device_of(model) if device is None else _checks.device(where, "device", device)
        self.flip_test = _checks.flag(where, "flip_test", flip_test) and keypoints.mirrors
        shift = codec.shift if shift_heatmap is None else shift_heatmap
        self.shift_heatmap = _checks.flag(where, "shift_heatmap", shift)
        self.batch_size = _checks.integer(where, "batch_size", batch_size, 1)
        self.padding = _checks.number(where, "padding", padding, above=0, maximum=_MOST_PADDING)
        self.mean = _three(where, "mean", mean)
        self.std = _three(where, "std", std, above=0)
        _checks.choice(where, "amp", amp, ("off", *DTYPES))
        self.amp = amp
        self._is_told = _checks.flag(where, "whole_pictures", whole_pictures)
        frozen = _checks.flag(where, "freeze", freeze)
        self.model = model.eval().to(self.device)
        check_input_size(self.model, codec.input_size)
        self.network = inference_form(self.model, amp) if frozen else self.model
        check_input_size(self.network, codec.input_size)

    @classmethod
    def from_checkpoint(cls, path: str | Path, preset: str | None = None, **options: Any) -> Predictor:
        """Load the network of a file with its sizes, codec, keypoints, normalisation and padding, as it was trained.

        Args:
            path: a checkpoint of hgfast, or with a preset one of MMPose or princeton-vl.
            preset: of :data:`hgfast.train.PRESETS`, for a file that does not say what it holds.
            **options: of the constructor, in place of what the file says. ``device`` is the GPU where there is one.

        Raises:
            TypeError: not a path, no name, or an option that there is not.
            FileNotFoundError, ValueError: no such file, not a checkpoint, one of another network, or one that does not
                say what it holds; or an option that does not fit.
        """
        from hgfast.train.build import choose_device, make_codec, predictor_options  # which import this module
        from hgfast.train.loaded import load_network

        config, model, _ = load_network(path, preset)
        options = {"device": choose_device("auto"), **predictor_options(config), **options}
        return cls(model, make_codec(config), **options)

    @overload
    def __call__(self, images: Image, boxes: Any = None) -> Prediction: ...

    @overload
    def __call__(self, images: list[Image] | list[Path], boxes: Any = None) -> list[Prediction]: ...

    def __call__(self, images: Image | list[Image] | list[Path], boxes: Any = None) -> Prediction | list[Prediction]:
        """Find the keypoints of every box.

        Args:
            images: a picture or a list of pictures: paths, or uint8 arrays (H, W, 3) in blue-green-red order, as
                OpenCV reads them.
            boxes: for one picture (P, 4), for a list a list of such: x1, y1, x2, y2 in pixels, before padding. None or
                "picture" takes each picture as a whole; see ``whole_pictures``.

        Returns:
            one :class:`Prediction`, or a list of them, in the order of the pictures.

        Raises:
            OSError, ValueError: a picture is missing or broken, or boxes do not fit: not (P, 4), not finite, empty, or
                more than 2^20 pixels away.
            TypeError: a picture is neither a path nor a uint8 array, or boxes are no numbers.
        """
        if isinstance(images, (np.ndarray, str, os.PathLike)):
            return self([images], boxes if boxes is None or isinstance(boxes, str) else [boxes])[0]
        return [seen.prediction for seen in self.stream(pairs_of(images, boxes))]

    def stream(
        self,
        pictures: Iterable[tuple[Image, Boxes]],
        skip: Callable[[int, OSError | ValueError | TypeError], None] | None = None,
    ) -> Iterator[Seen]:
        """Find keypoints of any number of pictures, one after the other, without holding them all.

        Args:
            pictures: each a picture and its boxes, as for a call. Persons of several pictures share a batch, so up to
                ``batch_size`` persons are read ahead.
            skip: goes on after a picture that cannot be used: it is called with the picture's place and the error, and
                nothing is yielded for it. Default: the error is raised.

        Yields:
            each picture with its boxes and what was found.

        Raises:
            OSError, TypeError, ValueError: as a call does; ``images[i]`` and ``boxes[i]`` in a message count the
                pictures.
        """
        waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
        persons: deque[Person] = deque()
        found = self._batch([])
        for number, pair in enumerate(pictures):
            try:
                image, boxes = self._used(pair, number)
            except (OSError, ValueError, TypeError) as error:
                if skip is None:
                    raise
                skip(number, error)
                continue
            waiting.append((image, boxes))
            persons += ((image, *box) for box in zip(*box_center_size(boxes, self.padding), strict=True))
            while len(persons) >= self.batch_size:
                found = joined(found, self._batch([persons.popleft() for _ in range(self.batch_size)]))
            while waiting and len(waiting[0][1]) <= len(found.scores):
                found, seen = taken(found, *waiting.popleft())
                yield seen
        found = joined(found, self._batch(list(persons)))
        while waiting:
            found, seen = taken(found, *waiting.popleft())
            yield seen

    def video(self, path: str | Path, boxes: Boxes | Callable[[np.ndarray], Boxes] = None) -> Iterator[Seen]:
        """Find keypoints in every frame of a video.

        Args:
            path: any video that OpenCV reads.
            boxes: the same (P, 4) for all frames, None or "picture" for the whole frame, or a function that finds the
                boxes in a frame (uint8 (H, W, 3), blue-green-red).

        Yields:
            each frame with its boxes and what was found.

        Raises:
            FileNotFoundError, ValueError: no such file, not a video, or boxes that do not fit.
        """
        find = boxes if callable(boxes) else lambda _: boxes
        return self.stream((frame, find(frame)) for frame in read_frames(path))

    def _used(self, pair: Any, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Read and check a picture and its boxes."""
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"pictures[{number}] must be a picture and its boxes, got {_checks.describe(pair)}")
        image = as_image(pair[0], f"images[{number}]")
        if pair[1] is None and not self._is_told:
            self._is_told = True
            log.warning(
                "Predictor: there are no boxes, so each picture is taken as a whole for one individual, on which this "
                'network was not trained; boxes="picture" says that it is meant'
            )
        return image, as_boxes(pair[1], image, f"boxes[{number}]")

    def _batch(self, persons: list[Person]) -> Prediction:
        if not persons:
            count = self.table.count
            return Prediction(np.zeros((0, count, 2), np.float32), np.zeros((0, count), np.float32))
        size = self.codec.input_size
        matrices = [person_matrix(center, extent, size, udp=self.codec.udp) for _, center, extent in persons]
        crops = np.stack([crop(image, matrix, size) for (image, *_), matrix in zip(persons, matrices, strict=True)])
        inverses = np.stack([cv2.invertAffineTransform(matrix) for matrix in matrices]).astype(np.float32)
        points, scores = self.predict_crops(torch.from_numpy(crops), torch.from_numpy(inverses))
        return Prediction(points.cpu().numpy(), scores.cpu().numpy())

    @torch.inference_mode()
    def predict_crops(self, crops: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """Find the keypoints of a batch of crops.

        Args:
            crops: (N, H, W, 3) uint8, blue-green-red, on any device.
            inverse: (N, 2, 3) float32 maps from crop to picture.

        Returns:
            keypoints (N, K, 2) in picture pixels and scores (N, K), float32 on the model's device.

        Raises:
            TypeError, ValueError: tensors of another dtype or shape, or a model that gives no such heatmaps.
        """
        width, height = self.codec.input_size
        _checks.tensor("predict_crops", "crops", crops, ndim=4, dtypes=(torch.uint8,))
        _checks.shape("predict_crops", "crops", crops, (len(crops), height, width, 3))
        _checks.tensor("predict_crops", "inverse", inverse)
        _checks.shape("predict_crops", "inverse", inverse, (len(crops), 2, 3), "N of crops")
        for name, value in (("crops", crops), ("inverse", inverse)):
            if value.is_meta:
                raise TypeError(f"predict_crops: {name} must hold data, got a meta tensor")
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
        """Compute heatmaps (N, K, h, w) float32 of normalised images (N, 3, H, W), averaged with the mirrored ones.

        Raises:
            TypeError, ValueError: not such a tensor, or a model that gives no such heatmaps.
        """
        _checks.tensor("heatmaps", "images", images, ndim=4)
        maps, *mirrored = (part.float() for part in self._run(images))
        return ops.flip_merge(maps, mirrored[0], self.table.flip_indices, self.shift_heatmap) if mirrored else maps

    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute heatmaps of the images, and of their mirror images where these are wanted, all from one batch."""
        both = torch.cat([images, images.flip(3)]) if self.flip_test else images
        with autocast(self.device, self.amp):
            given = self.network(both)
        maps = given if isinstance(given, Tensor) else given[-1]
        if not isinstance(maps, Tensor) or maps.dim() != 4 or maps.shape[:2] != (len(both), self.table.count):
            raise ValueError(
                f"model must give heatmaps ({len(both)}, {self.table.count}, h, w) for keypoints {self.table.name!r}, "
                f"got {_checks.describe(maps)}"
            )
        return maps.split(max(len(images), 1))


def _three(where: str, name: str, value: Any, above: float | None = None) -> tuple[float, float, float]:
    values = _checks.array(where, name, value, (3,), finite=True).tolist()
    red, green, blue = (_checks.number(where, name, entry, above=above) for entry in values)
    return red, green, blue
