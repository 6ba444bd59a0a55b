"""H.264 in MP4, which browsers and presentations play, through PyAV where that is installed."""

from __future__ import annotations

import importlib
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

_QUALITY = "20"  # constant rate factor: 18 is hardly to be told from the original, 23 is x264's default


def has_h264() -> bool:
    """Whether PyAV is there, with an encoder."""
    try:
        return "libx264" in importlib.import_module("av").codecs_available
    except ImportError:
        return False


class H264Encoder:
    """Frames of one size into a file; where the size is odd the last row or column comes twice, for colours are halved.

    Args:
        file: where the MP4 goes, which must allow seeking.
        rate: frames a second.
        size: (width, height) of the frames.
    """

    def __init__(self, file: BinaryIO, rate: float, size: tuple[int, int]) -> None:
        import av

        self._av: Any = av
        self._container = av.open(file, "w", format="mp4")
        self._stream: Any = self._container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt, self._stream.options = "yuv420p", {"crf": _QUALITY, "preset": "veryfast"}

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, uint8 (H, W, 3), blue-green-red."""
        odd = [(0, side % 2) for side in frame.shape[:2]]
        frame = np.pad(frame, [*odd, (0, 0)], mode="edge") if any(more for _, more in odd) else frame
        for packet in self._stream.encode(self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "bgr24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Write what is left; errors are OSErrors, of a full disk for example."""
        try:
            for packet in self._stream.encode():
                self._container.mux(packet)
        finally:
            self._container.close()
