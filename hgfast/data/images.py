"""Reading pictures, cutting persons out of them, and turning them into a network's input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.codecs.affine import apply_affine, compose, fix_aspect_ratio, flip_matrix, udp_warp_matrix, warp_matrix
from hgfast.constants import constant
from hgfast.data.header import read_header

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # red, green, blue, of 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)
MAX_SIDE = 32_766  # what OpenCV's warpAffine takes
_SMALLEST = 1e-3  # pixels: a box of this size stands for one of none
_JPEG_END = b"\xff\xd9"

_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def read_image(path: str | Path, reduce: int = 1) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3), blue-green-red as OpenCV has it, turned as its EXIF data say.

    Args:
        path: any format OpenCV reads, at most 32,766 pixels wide and high; the half of a JPEG that was cut off is grey.
        reduce: 1, 2, 4 or 8: a picture of (ceil(H / reduce), ceil(W / reduce)). A JPEG is decoded at that fraction of
            its size, which is several times faster; see :func:`reduced_origin` for where its pixels lie.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, one that is too large, or one whose header says more pixels than such a file holds.
        TypeError: arguments of another type.
    """
    _checks.choice("", "reduce", reduce, tuple(_REDUCED))
    data = _content(path)
    header = read_header(data)
    if header is not None:
        _check_size(header.width, header.height, f"{path}: the picture")
        if not header.fits(len(data)):
            raise ValueError(
                f"{path}: a damaged picture: it announces more than a file of {len(data)} bytes holds "
                f"({header.width} x {header.height} pixels)"
            )
    jpeg = header is not None and header.jpeg
    if jpeg and not data.endswith(_JPEG_END):
        data += 512 * _JPEG_END  # as libjpeg does at a file's end, not in memory; also where a segment is cut off
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduce] if jpeg else cv2.IMREAD_COLOR)
    except cv2.error:  # an empty file, or a size that OpenCV refuses
        image = None
    if image is None:
        raise ValueError(f"{path}: not a picture that OpenCV can read")
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # grey PFM files stay grey
    _check_size(image.shape[1], image.shape[0], f"{path}: the picture")
    return image if jpeg else _shrunk(image, reduce)


def picture_size(path: str | Path) -> tuple[int, int]:
    """(width, height) of a picture as :func:`read_image` gives it; of the usual formats only the header is read.

    Raises:
        FileNotFoundError, ValueError, TypeError: as :func:`read_image`.
    """
    header = read_header(_content(path, 1 << 18)) or read_header(_content(path))
    if header is not None:
        return header.shown() if header.jpeg else (header.width, header.height)
    height, width = read_image(path).shape[:2]
    return width, height


def _content(path: str | Path, length: int = -1) -> bytes:
    """Read the first bytes of a file, or all, because OpenCV takes no file name that is not UTF-8."""
    if not os.path.isfile(_checks.path("", "path", path)):
        raise FileNotFoundError(f"{path}: picture not found")
    with open(path, "rb") as file:
        return file.read(length)


def _check_size(width: int, height: int, what: str) -> None:
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"{what} is {width} x {height} pixels; at most {MAX_SIDE} a side can be cropped")


def _shrunk(image: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks of pixels from the top left corner on, as a JPEG decoded at reduced scale has them."""
    if factor == 1:
        return image
    height, width = image.shape[:2]
    bottom, right = -height % factor, -width % factor
    whole = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = ((width + right) // factor, (height + bottom) // factor)
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA)


def reduced_origin(path: str | Path, reduce: int) -> tuple[int, int]:
    """Return where in the whole picture (x, y) the first block of ``reduce`` pixels of the reduced one begins.

    (0, 0), but for a JPEG that EXIF has mirrored: its blocks start at the stored picture's top left corner, which
    comes to lie elsewhere, and the outermost block on the other side sticks out of the picture.

    Args:
        path: of the picture.
        reduce: 1, 2, 4 or 8, as for :func:`read_image`.

    Raises:
        FileNotFoundError, ValueError, TypeError: as :func:`read_image`.
    """
    _checks.choice("", "reduce", reduce, tuple(_REDUCED))
    header = read_header(_content(path, 1 << 18)) or read_header(_content(path))
    if header is None or not header.jpeg:
        return 0, 0
    x, y = (
        -(-side % reduce) if mirrored else 0 for side, mirrored in zip(header.shown(), header.mirrored(), strict=True)
    )
    return x, y


def reduction(path: Path, matrix: np.ndarray) -> int:
    """Return the largest decoding reduction (1, 2, 4, 8) that leaves a crop a pixel for each of its own.

    1 for what is not a JPEG by its name: only there is reduced decoding faster, and the grid of its pixels exact.

    Raises:
        TypeError, ValueError: ``path`` or ``matrix`` of another kind.
    """
    matrix = _checks.array("", "matrix", matrix, (2, 3), finite=True)
    path = _checks.path("", "path", path)
    step = 1 / max(np.hypot(matrix[:, 0], matrix[:, 1]).max(), 1e-30)  # pixels of the picture for a pixel of the crop
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
    """Map picture to network input by a (2, 3) matrix.

    Args:
        center: (2,) centre of the box.
        size: (2,) width and height; the smaller side grows to the aspect ratio of ``out``.
        out: (width, height) of the network's input.
        rotation: degrees.
        flip: mirror the picture first, and the box with it. (About which axis does not matter then.)
        udp: unit lengths by pixel distances instead of pixel counts, see :mod:`hgfast.codecs.affine`.

    A box without any extent (of a detector) shows one point of the picture.

    Raises:
        TypeError, ValueError: arguments that are not finite numbers of these shapes, or a negative size.
    """
    center = _checks.array("", "center", center, (2,), finite=True)
    size = _checks.array("", "size", size, (2,), finite=True)
    if (size < 0).any():
        raise ValueError(f"size must not be negative, got {size.tolist()}")
    out = _checks.size("", "out", out, maximum=MAX_SIDE)
    rotation = _checks.number("", "rotation", rotation)
    make = udp_warp_matrix if _checks.flag("", "udp", udp) else warp_matrix
    size = np.maximum(fix_aspect_ratio(size, out[0] / out[1]), _SMALLEST)
    if not _checks.flag("", "flip", flip):
        return make(center, size, rotation, out)
    mirror = flip_matrix(width=1)
    return compose(make(apply_affine(mirror, center), size, rotation, out), mirror)


def crop(
    image: np.ndarray,
    matrix: np.ndarray,
    out: tuple[int, int],
    reduce: int = 1,
    origin: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """Part of a picture, bilinear, black outside; uint8 (out height, out width, 3).

    Args:
        image: uint8 (H, W, 3), at most 32,766 pixels wide and high.
        matrix: (2, 3) map from the whole picture to the crop.
        out: (width, height) of the crop.
        reduce: at what fraction ``image`` was decoded: 1, 2, 4 or 8.
        origin: see :func:`reduced_origin`.

    Raises:
        TypeError, ValueError: arguments of other types, shapes or sizes.
    """
    _checks.picture("", "image", image)
    _check_size(image.shape[1], image.shape[0], "image")
    matrix = _checks.array("", "matrix", matrix, (2, 3), finite=True).astype(np.float64)
    out = _checks.size("", "out", out, maximum=MAX_SIDE)
    _checks.choice("", "reduce", reduce, tuple(_REDUCED))
    if reduce != 1:  # pixel centres: x of the whole picture is (x + 0.5) * reduce - 0.5 + origin of the reduced one
        x, y = _checks.integers("", "origin", origin, 2)
        offset = (reduce - 1) / 2
        matrix = compose(matrix, np.array([[reduce, 0, offset + x], [0, reduce, offset + y]]))
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

    Raises:
        TypeError, ValueError: arguments of other types or shapes, or a standard deviation that is not positive.
    """
    _checks.tensor("", "images", images, ndim=4, dtypes=(torch.uint8,))
    if images.shape[3] != 3:
        raise ValueError(f"images must have shape (N, H, W, 3), got {tuple(images.shape)}")
    mean, std = _colours("mean", mean), _colours("std", std, above=0.0)
    n, height, width, _ = images.shape
    values = torch.stack(images.unbind(3)[::-1], 3).float()
    rows = values.view(n * height, width * 3)  # whole rows against repeated constants: loops over 3 channels are slow
    rows.sub_(constant(mean, images.device, width)).div_(constant(std, images.device, width))
    return values.permute(0, 3, 1, 2)


def _colours(name: str, value: Any, above: float | None = None) -> tuple[float, float, float]:
    value = list(value) if isinstance(value, np.ndarray) and value.ndim else value
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ValueError(f"{name} must hold three numbers, got {_checks.describe(value)}")
    red, green, blue = (_checks.number("", f"{name}[{i}]", entry, above=above) for i, entry in enumerate(value))
    return red, green, blue
