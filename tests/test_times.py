"""Times with their noise: the error that is taken for a median's, and when two are told apart."""

from __future__ import annotations

import numpy as np
import pytest

from hgfast._times import DEVIATIONS, ERROR_OF_MEDIAN, EVENT_ERROR, RUNS, Measured, Time, median_of


def test_the_error_of_a_median_is_that_of_normal_numbers() -> None:
    """Of 100,000 draws: the deviation of the medians, over the median deviation that a draw shows."""
    draws = np.random.default_rng(0).normal(size=(100_000, RUNS))
    medians = np.median(draws, axis=1)
    deviations = np.median(abs(draws - medians[:, None]), axis=1)
    assert medians.std() / deviations.mean() == pytest.approx(ERROR_OF_MEDIAN, rel=0.02)


def test_equal_times_are_seldom_told_apart_and_others_are() -> None:
    rng = np.random.default_rng(1)

    def share(difference: float) -> float:
        pairs = (
            [median_of(list(rng.normal(mean, 1.0, RUNS))) for mean in (10.0 + difference, 10.0)] for _ in range(4000)
        )
        return float(np.mean([a.exceeds(b) for a, b in pairs]))

    assert share(0.0) < 0.08 and share(2.0) > 0.8


def test_an_outlier_changes_nothing() -> None:
    quiet, one = [10.0, 10.1, 9.9] * 3, [10.0, 10.1, 9.9] * 2 + [10.0, 10.1, 500.0]
    assert median_of(one).value == pytest.approx(median_of(quiet).value, abs=0.1)
    assert median_of(one).error < 0.1


def test_the_clocks_resolution_is_the_least_error() -> None:
    """Two roundings to 0.5 us, each of standard deviation 0.5 / sqrt(12)."""
    ticks = np.random.default_rng(2).uniform(0, 100, (100_000, 2))
    rounding = np.diff(np.round(ticks * 2) / 2 - ticks, axis=1)
    assert rounding.std() == pytest.approx(EVENT_ERROR, rel=0.02)
    assert median_of([7.0] * RUNS, EVENT_ERROR) == Measured(7.0, EVENT_ERROR)
    assert not Measured(7.5, EVENT_ERROR).exceeds(Measured(7.0, EVENT_ERROR))


def test_sums_and_what_counts() -> None:
    a, b = Time(Measured(10, 3), Measured(4, 1)), Time(Measured(1, 4), Measured(9, 0))
    assert a + b == Time(Measured(11, 5), Measured(13, 1))
    assert a.counted(True) == a.card and b.counted(True) == b.host and b.counted(False) == b.card
    assert Measured(10 + 1.01 * DEVIATIONS * 5, 3).exceeds(Measured(10, 4))
    assert not Measured(10 + 0.99 * DEVIATIONS * 5, 3).exceeds(Measured(10, 4))
