"""Whose turn it is: calls of a frozen network share its plans' memory, whatever thread or stream they come from."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator

import torch


class Turns:
    """Lets one thread in at a time, and orders the device work of calls that the host issues one after the other.

    On one stream that work is in order anyway. A call on another stream waits there for the end of the one before it.
    In a CUDA graph that the caller captures there is nothing to wait for: who replays it keeps it apart from other
    calls.
    """

    def __init__(self) -> None:
        """Begin with no call issued yet."""
        self._lock = threading.RLock()
        self._owner: int | None = None  # the thread inside
        self._stream: torch.cuda.Stream | None = None
        self._end: torch.cuda.Event | None = None
        _all.add(self)

    @contextlib.contextmanager
    def turn(self, device: torch.device) -> Iterator[bool]:
        """Within it the device is the current one; gives whether this call may use the shared memory.

        It may not where its own thread is inside already: in a signal handler, for instance.
        """
        thread = threading.get_ident()
        with self._lock:
            before, self._owner = self._owner, thread
            try:
                with self._on_device(device):
                    yield before != thread
            finally:
                self._owner = before

    @contextlib.contextmanager
    def _on_device(self, device: torch.device) -> Iterator[None]:
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

    def after_fork(self) -> None:
        """Free the lock in a child: a thread that was inside is not here to come out."""
        self._lock = threading.RLock()
        if self._owner != threading.get_ident():
            self._owner = None


_all: weakref.WeakSet[Turns] = weakref.WeakSet()


def _after_fork() -> None:
    for turns in list(_all):
        turns.after_fork()


os.register_at_fork(after_in_child=_after_fork)
