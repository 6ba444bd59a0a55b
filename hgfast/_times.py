"""How long calls take on a card, with the noise of the measurement, and which of two is the faster one.

A call takes the card so long, and the host, which launches it, so long. Where calls are launched one by one the host
works ahead while the card computes, and the longer of the two is what a call adds; in a CUDA graph it is the card's.

The noise is measured: the standard error of a median, from the median absolute deviation of the runs. Two times are
told apart where they differ by more than DEVIATIONS standard errors of their difference (19 of 20 that are equal are
not). Sources: P. J. Rousseeuw and C. Croux, Alternatives to the median absolute deviation, JASA 88 (1993);
CUDA's documentation of cudaEventElapsedTime for the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from statistics import median

RUNS = 9
DEVIATIONS = 2.0
# Standard error of the median of RUNS normal numbers, over their median absolute deviation (tests/test_times.py).
ERROR_OF_MEDIAN = 0.67
# Of the difference of two clock readings, each rounded to 0.5 us: the standard deviation, in microseconds.
EVENT_ERROR = 0.5 / 6**0.5


@dataclass(frozen=True)
class Measured:
    """Microseconds and their standard error."""

    value: float
    error: float

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.value + other.value, hypot(self.error, other.error))

    def exceeds(self, other: Measured) -> bool:
        """Whether it is longer by more than the noise."""
        return self.value - other.value > DEVIATIONS * hypot(self.error, other.error)


def median_of(samples: Sequence[float], resolution_error: float = 0.0) -> Measured:
    """Return the median of RUNS samples in microseconds; its error is that of the clock at least."""
    middle = median(samples)
    deviation = median(abs(sample - middle) for sample in samples)
    return Measured(middle, max(ERROR_OF_MEDIAN * deviation, resolution_error))


@dataclass(frozen=True)
class Time:
    """Of a call: what it takes the card, and the host."""

    card: Measured
    host: Measured

    def __add__(self, other: Time) -> Time:
        return Time(self.card + other.card, self.host + other.host)

    def counted(self, launched: bool) -> Measured:
        """Say what it adds to a network whose calls are launched one by one, or replayed as a CUDA graph."""
        return self.host if launched and self.host.value > self.card.value else self.card
