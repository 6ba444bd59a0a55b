"""The One Euro filter: little delay for what moves fast, little trembling of what rests."""

from __future__ import annotations

import math

import numpy as np

_LEAST_CUTOFF = 1.0  # hertz, of what rests
_SPEED = 0.007  # hertz for each pixel a second: the paper's beta, as its authors' pointer demonstration has it
_SPEED_CUTOFF = 1.0  # hertz, of the speed's own filter


class OneEuro:
    """Filters points over time (Casiez, Roussel, Vogel: 1 Euro filter, CHI 2012)."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._speed = np.zeros(0)

    def __call__(self, points: np.ndarray, seconds: float) -> np.ndarray:
        """Filter the points (..., 2) of a moment, so many seconds after the one before."""
        if self._last is None:
            self._last, self._speed = points, np.zeros_like(points)
            return points
        speed = (points - self._last) / seconds
        self._speed = self._speed + _share(_SPEED_CUTOFF, seconds) * (speed - self._speed)
        cutoff = _LEAST_CUTOFF + _SPEED * np.abs(self._speed)
        self._last = self._last + _share(cutoff, seconds) * (points - self._last)
        return self._last


def _share(cutoff: float | np.ndarray, seconds: float) -> np.ndarray:
    """Return the share that a low-pass filter takes of the new value."""
    step = 2 * math.pi * np.asarray(cutoff) * seconds
    return step / (step + 1)
