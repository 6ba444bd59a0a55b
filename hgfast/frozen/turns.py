"""Whose turn it is on the device: calls of a frozen network share its workspace, whatever stream they come from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


class Turns:
    """Orders the device work of calls that the host issues one after the other.

    On one stream they are in order anyway. A call on another stream waits there for the end of the one before it. In a
    CUDA graph that the caller captures there is nothing to wait for: who replays it keeps it apart from other calls.
    """

    def __init__(self) -> None:
        """Nobody has been here yet."""
        self._stream: torch.cuda.Stream | None = None
        self._end: torch.cuda.Event | None = None

    @contextlib.contextmanager
    def turn(self, device: torch.device) -> Iterator[None]:
        """Within it the device is the current one, and its current stream may use the workspace."""
        if device.type != "cuda":
            yield
            return
        with torch.cuda.device(device):
            if torch.cuda.is_current_stream_capturing():
                yield
                return
            stream = torch.cuda.current_stream(device)
            if self._end is not None and stream != self._stream:
                stream.wait_event(self._end)
            try:
                yield
            finally:
                self._stream, self._end = stream, self._end or torch.cuda.Event()
                self._end.record(stream)
