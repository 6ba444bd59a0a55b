"""Ending a run in good order when the user or the system asks for it."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

_SECONDS_TOGETHER = 1.0


class StopRequest:
    """While entered, SIGINT and SIGTERM only set :attr:`asked`. A second SIGINT acts as usual.

    What is said twice at once counts once: a signal to the whole process group reaches a process from torchrun, too.
    Further SIGTERMs change nothing, since ``timeout``, torchrun and SLURM each send their own.

    Outside the main thread, where Python allows no signal handlers, nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, Any] = {}
        self._interrupted = 0.0

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {n: signal.signal(n, self._ask) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = self._interrupted and now > self._interrupted + _SECONDS_TOGETHER
        self.asked = True
        if number == signal.SIGINT:
            self._interrupted = self._interrupted or now
            if again and callable(self._previous[number]):
                self._previous[number](number, frame)
