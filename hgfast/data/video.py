"""Videos in and out, through OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")


@contextmanager
def open_video(path: str | Path) -> Iterator[cv2.VideoCapture]:
    """A video to be read; raises FileNotFoundError or ValueError where that is not possible."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: video not found")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise ValueError(f"{path}: not a video that OpenCV can read")
        yield capture
    finally:
        capture.release()


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Frames of a video one by one, uint8 (H, W, 3), blue-green-red.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, or one without frames.
    """
    with open_video(path) as capture:
        there, frame = capture.read()
        if not there:
            raise ValueError(f"{path}: a video without a frame that OpenCV can read")
        while there:
            yield frame
            there, frame = capture.read()


def frame_rate(path: str | Path) -> float:
    """Frames a second; 25 where the file does not say. Errors as :func:`read_frames`."""
    with open_video(path) as capture:
        return capture.get(cv2.CAP_PROP_FPS) or 25.0


class VideoWriter:
    """An MP4 file, opened with the first frame; to be used in a ``with`` block.

    Args:
        path: the file, ending in .mp4.
        rate: frames a second.
    """

    def __init__(self, path: str | Path, rate: float) -> None:
        self.path, self.rate = Path(path), rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 (H, W, 3), of the first one's size; raises OSError when the file cannot be written."""
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = (frame.shape[1], frame.shape[0])
            self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, size)
            if not self._writer.isOpened():
                raise OSError(f"{self.path}: cannot write a video there")
        self._writer.write(frame)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.release()
