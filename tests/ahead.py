"""Results that other processes work out for tests, begun before the first one: on the core that pytest leaves free.

A module of tests that waits for processes says so once, `AHEAD = Ahead(work)`, and its tests ask for `AHEAD.result()`.
In a run of many tests (conftest) such work begins at once and such modules come last; in others it is done when a test
asks. What runs ahead must be waiting for processes alone, as other tests go on in this one meanwhile.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
ENVIRONMENT = dict(os.environ)  # for the processes: tests that run meanwhile change os.environ for themselves
MANY = 1000  # tests: of fewer, somebody waits for one of them

_waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()


class Ahead(Generic[Result]):
    """What work() returns, worked out once."""

    def __init__(self, work: Callable[[], Result], first: bool = False) -> None:
        """work: is called in a thread of its own, or by the first who asks. first: other modules wait for it too."""
        self._work = work
        self.first = first
        self._future: Future[Result] | None = None

    def begin(self) -> None:
        """Put it behind what others have begun."""
        self._future = Future()
        _waiting.put(self._do)

    def result(self) -> Result:
        """What work() returned; raises what it has raised."""
        if self._future is None:
            self._future = Future()
            self._do()
        return self._future.result()

    def _do(self) -> None:
        assert self._future is not None
        try:
            self._future.set_result(self._work())
        except BaseException as error:  # whoever asks is told, and by pytest's own exceptions too
            self._future.set_exception(error)


def order(items: list[Any]) -> None:
    """Of many tests, put those behind the others that wait for work done ahead; the order is the same else."""
    if len(items) >= MANY:
        items.sort(key=lambda item: _ahead(item) is not None)


def begin(config: Any, items: list[Any]) -> None:
    """Begin what many tests will ask for, one work after the other; a run that is broken off leaves it behind.

    Nothing is begun where pytest only lists its tests, nor in the workers of pytest-xdist: each has collected all tests
    and will run few of them, and none of them knows which.
    """
    if len(items) >= MANY and not config.option.collectonly and not hasattr(config, "workerinput"):
        found = {id(ahead): ahead for item in items if (ahead := _ahead(item)) is not None}
        for ahead in sorted(found.values(), key=lambda ahead: not ahead.first):
            ahead.begin()
        threading.Thread(target=_in_turn, daemon=True, name="ahead").start()


def _ahead(item: Any) -> Ahead[Any] | None:
    return getattr(getattr(item, "module", None), "AHEAD", None)


def _in_turn() -> None:
    while not _waiting.empty():
        _waiting.get()()
