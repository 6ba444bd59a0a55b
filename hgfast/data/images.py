"""Reading pictures, cutting persons out of them, and turning them into a network's input."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from hgfast.codecs.affine import apply_affine, compose, fix_aspect_ratio, flip_matrix, udp_warp_matrix, warp_matrix
from hgfast.constants import constant

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # red, green, blue, of 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)

_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def read_image(path: str | Path, reduce: int = 1) -> np.ndarray:
    """Picture as uint8 (H, W, 3), blue-green-red as OpenCV has it.

    Args:
        path: any format OpenCV reads.
        reduce: 1, 2, 4 or 8; a JPEG is decoded at that fraction of its size, which is several times faster.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: picture not found")
    image = cv2.imread(str(path), _REDUCED[reduce])
    if image is None:
        raise ValueError(f"{path}: not a picture that OpenCV can read")
    return image


def reduction(path: Path, matrix: np.ndarray) -> int:
    """Largest decoding reduction (1, 2, 4, 8) that leaves a crop by ``matrix`` at least a pixel for each of its own.

    1 for what is not a JPEG by its name: only there is reduced decoding faster, and the grid of its pixels exact.
    """
    step = 1 / np.hypot(matrix[:, 0], matrix[:, 1]).max()  # pixels of the picture for a pixel of the crop
    factors = (8, 4, 2) if path.suffix.lower() in (".jpg", ".jpeg") else ()
    return next((factor for factor in factors if step >= factor), 1)


def person_matrix(
    center: np.ndarray,
    size: np.ndarray,
    out: tuple[int, int],
    rotation: float = 0.0,
    flip: bool = False,
    udp: bool = False,
) -> np.ndarray:
    """Map (2, 3) from picture to network input.

    Args:
        center: (2,) centre of the box.
        size: (2,) width and height; the smaller side grows to the aspect ratio of ``out``.
        out: (width, height) of the network's input.
        rotation: degrees.
        flip: mirror the picture first, and the box with it. (About which axis does not matter then.)
        udp: unit lengths by pixel distances instead of pixel counts, see :mod:`hgfast.codecs.affine`.
    """
    make = udp_warp_matrix if udp else warp_matrix
    size = fix_aspect_ratio(size, out[0] / out[1])
    if not flip:
        return make(center, size, rotation, out)
    mirror = flip_matrix(width=1)
    return compose(make(apply_affine(mirror, center), size, rotation, out), mirror)


def crop(image: np.ndarray, matrix: np.ndarray, out: tuple[int, int], reduce: int = 1) -> np.ndarray:
    """Part of a picture, bilinear, black outside; uint8 (out height, out width, 3).

    ``matrix`` belongs to the full-size picture; ``reduce`` says at what fraction ``image`` was decoded.
    """
    if reduce != 1:  # pixel centres: x of the full picture is (x + 0.5) / reduce - 0.5 of the reduced one
        offset = (reduce - 1) / 2
        matrix = compose(matrix, np.array([[reduce, 0, offset], [0, reduce, offset]]))
    return cv2.warpAffine(image, matrix, out, flags=cv2.INTER_LINEAR)


def network_input(
    images: torch.Tensor,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> torch.Tensor:
    """Normalised input of the network from a batch of crops, made where the batch is.

    Args:
        images: (N, H, W, 3) uint8, blue-green-red.
        mean: of red, green and blue, 0..255.
        std: of red, green and blue.

    Returns:
        (N, 3, H, W) float32 in channels_last order, red-green-blue.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"images: expected uint8 (N, H, W, 3), got {images.dtype} {tuple(images.shape)}")
    n, height, width, _ = images.shape
    values = torch.stack(images.unbind(3)[::-1], 3).float()
    rows = values.view(n * height, width * 3)  # whole rows against repeated constants: loops over 3 channels are slow
    rows.sub_(constant(tuple(mean), images.device, width)).div_(constant(tuple(std), images.device, width))
    return values.permute(0, 3, 1, 2)
