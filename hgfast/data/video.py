"""Videos in and out, through OpenCV: local files that are videos by their content, never scripts or addresses."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import BinaryIO

import numpy as np

from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.data.h264 import H264Encoder, has_h264
from hgfast.files import atomic_write

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx")  # of MP4 and MOV
_BEGINNINGS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"0&\xb2u\x8ef\xcf\x11",  # ASF: WMV
    b"\0\0\1",  # MPEG program streams and MPEG-1, 2, 4 video without a container
    b"\0\0\0\1",  # H.264 and H.265 without a container
    b"FLV",
    b"OggS",
    b"GIF8",
    b"DKIF",  # IVF
    b"YUV4MPEG2",
    b".RMF",
    b"\x1f\7\0",  # DV
    b"\6\x0e+4",  # MXF
)
_TICKS = 65535  # MPEG-4's clock has at most so many a second


@contextmanager
def open_video(path: str | Path) -> Iterator[cv2.VideoCapture]:
    """Open a video to be read, from a file whose content begins as a video's.

    FFmpeg also follows play lists and scripts (ffconcat, m3u8), whatever their names, to other files and addresses.

    Raises:
        FileNotFoundError: no such file.
        OSError: it cannot be read.
        ValueError: not a video, or a name that OpenCV cannot take.
        TypeError: not a path.
    """
    path = _checks.path("", "path", path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: video not found")
    with open(path, "rb") as file:
        head = file.read(400)
    name = _opencv_name(Path(os.path.abspath(path)))
    capture = cv2.VideoCapture(name) if _begins_as_video(head) else cv2.VideoCapture()
    try:
        # OpenCV takes what FFmpeg refuses for a numbered series of pictures, and reads the neighbours
        if not capture.isOpened() or capture.getBackendName() == "CV_IMAGES":
            raise ValueError(f"{path}: not a video that OpenCV can read")
        yield capture
    finally:
        capture.release()


def _begins_as_video(head: bytes) -> bool:
    if head.startswith(_BEGINNINGS) or head[4:8] in _BOXES:
        return True
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        return True
    # MPEG transport stream: packets of 188 bytes, of 192 with time codes, of 204 with checksums
    return any(head[first::step][:2] == b"GG" for first, step in ((0, 188), (4, 192), (0, 204)))


def _opencv_name(path: Path) -> str:
    """Return the path as text; OpenCV crashes on names that are not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{str(path)!r}: OpenCV takes no videos whose path is not UTF-8") from None
    return str(path)


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Frames of a video one by one, uint8 (H, W, 3), blue-green-red.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, or one without frames.
        OSError, TypeError: as :func:`open_video`.
    """
    with open_video(path) as capture:
        there, frame = capture.read()
        if not there:
            raise ValueError(f"{path}: a video without a frame that OpenCV can read")
        while there:
            yield frame
            there, frame = capture.read()


def frame_rate(path: str | Path) -> float:
    """Frames a second; 25 where the file does not say. Errors as :func:`open_video`."""
    with open_video(path) as capture:
        rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and rate > 0 else 25.0


def frame_count(path: str | Path) -> int | None:
    """Return how many frames the file says it has, which need not be right; None where it does not say.

    Errors as :func:`open_video`.
    """
    with open_video(path) as capture:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if 0 < count < 2**53 else None


class VideoWriter:
    """An MP4 file, to be used in a ``with`` block, at whose end the file appears: whole, also after an error.

    In H.264 where PyAV is installed (the extra ``video``), which browsers play; else in MPEG-4 part 2, by OpenCV.

    Args:
        path: the file, ending in .mp4.
        rate: frames a second. The file has the nearest rate that it can hold: five digits, at most three of them
            after the point (66.667 becomes 66.67), and 0.002 to 65535.

    Raises:
        TypeError, ValueError: not a path; not a positive number.
    """

    def __init__(self, path: str | Path, rate: float) -> None:
        self.path = _checks.path("VideoWriter", "path", path)
        self.rate = _possible_rate(_checks.number("VideoWriter", "rate", rate, above=0))
        self._size: tuple[int, int] | None = None
        self._files = ExitStack()

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, uint8 (H, W, 3), of the first one's size.

        Raises:
            TypeError, ValueError: not a frame, or one of another size.
            OSError: the file cannot be written, or not with frames of this size.
        """
        _checks.picture("VideoWriter.write", "frame", frame)
        size = (frame.shape[1], frame.shape[0])
        if self._size is None:
            self._open(size)
            self._size = size
        elif size != self._size:
            raise ValueError(f"VideoWriter.write: frame must have the first one's size {self._size}, got {size}")
        self._encoder.write(frame)

    def _open(self, size: tuple[int, int]) -> None:
        with ExitStack() as files:
            file = files.enter_context(atomic_write(self.path))
            if has_h264() and self.path.suffix == ".mp4":
                self._encoder: H264Encoder | _OpenCVEncoder = H264Encoder(file, self.rate, size)
            else:
                folder = Path(files.enter_context(TemporaryDirectory()))
                self._encoder = _OpenCVEncoder(self.path, file, folder, self.rate, size)
            self._files = files.pop_all()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._files:
            if self._size is not None:
                self._encoder.close()


class _OpenCVEncoder:
    """Writes by a link of a simple name, in a folder, to the temporary file of an atomic write to a path."""

    def __init__(self, path: Path, file: BinaryIO, folder: Path, rate: float, size: tuple[int, int]) -> None:
        self._path, self._count = path, 0
        link = folder / f"video{path.suffix}"
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        self._name = _opencv_name(link)
        self._writer = cv2.VideoWriter(self._name, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        if not self._writer.isOpened():
            raise OSError(f"{path}: cannot write a video of {size[0]} x {size[1]} pixels there")

    def write(self, frame: np.ndarray) -> None:
        self._writer.write(frame)
        self._count += 1

    def close(self) -> None:
        """OpenCV says nothing where it cannot write, on a full disk for example."""
        self._writer.release()
        capture = cv2.VideoCapture(self._name)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        capture.release()
        if count < self._count:
            raise OSError(
                f"{self._path}: {count:.0f} of the video's {self._count} frames could be written (disk full?)"
            )


def _possible_rate(rate: float) -> float:
    rate = min(max(rate, 0.002), _TICKS)
    return next(round(rate, digits) for digits in (3, 2, 1, 0) if round(rate * 10**digits) <= _TICKS)
