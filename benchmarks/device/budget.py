"""Time left, and the share of it that a stage may take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    def share(self, weights: Sequence[float]) -> Deadline:
        """The deadline of the first of several parts that divide the time left by weight.

        What a part does not use is shared by those after it.
        """
        return Deadline.after(self.left * weights[0] / sum(weights))

    def at_most(self, seconds: float) -> float:
        """Seconds that one step may take: `seconds`, or what is left."""
        return min(seconds, self.left)
