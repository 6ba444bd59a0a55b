"""Scales of codes from what a network gives for calibration images: ranges first, then histograms, in two passes.

All images count, in batches of BATCH. A range is cut by one of METHODS:

- max: nothing is cut.
- percentile: PERCENTILE of the values are in it; a half of the others is cut at either end.
- mse: where the squared error of coding the histogram is smallest: of what is cut, and 1/12 of a step squared of the
  rest. (Sung et al., "Resiliency of deep neural networks under quantization", 2015.)
- entropy: where the Kullback-Leibler divergence of the coded histogram from the histogram is smallest (Migacz, "8-bit
  inference with TensorRT", 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hgfast.frozen.codes import LARGEST_CODE, Codes
from hgfast.frozen.compare import steps_with_values
from hgfast.frozen.graph import Value
from hgfast.frozen.model import FrozenModel
from hgfast.frozen.plan import Plan

METHODS = ("mse", "max", "percentile", "entropy")
BATCH = 8
BINS = 2048
PERCENTILE = 99.99
CUTS = 32  # ranges that are tried at either end
LEVELS = LARGEST_CODE + 1
SMALLEST_RANGE = 1e-20  # below that a value is taken for 0


@dataclass
class Seen:
    """What was seen of a value: its range, which takes in 0, and counts of BINS equal parts of it."""

    low: float = 0.0
    high: float = 0.0
    counts: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))

    @property
    def centres(self) -> Tensor:
        """Of the parts, float64."""
        width = (self.high - self.low) / BINS
        return self.low + width * (torch.arange(BINS, dtype=torch.float64) + 0.5)

    def power(self) -> float:
        """Mean square."""
        return float((self.centres.square() * self.counts).sum() / self.counts.sum().clamp(min=1))


def observe_values(frozen: FrozenModel, images: Tensor) -> dict[Value, Seen]:
    """Yield what the kernels of a frozen network in float32 make of images, value by value.

    Raises:
        ValueError: a value is not finite.
    """
    seen: dict[Value, Seen] = {}
    for name, value, tensor in _values(frozen, images):
        low, high = (float(x) for x in tensor.aminmax())
        if not torch.tensor([low, high]).isfinite().all():
            raise ValueError(f"freeze: calibration must give finite activations; those of {name} are not")
        found = seen.setdefault(value, Seen())
        found.low, found.high = min(found.low, low), max(found.high, high)
    for _, value, tensor in _values(frozen, images):
        found = seen[value]
        if found.high - found.low > SMALLEST_RANGE:
            found.counts += torch.histc(tensor, BINS, found.low, found.high).double()
    return seen


def _values(frozen: FrozenModel, images: Tensor) -> Iterator[tuple[str, Value, Tensor]]:
    """Yield name, number and values of all that calls make, batch by batch; a map is float32."""
    for batch in images.split(BATCH):
        inputs = frozen.inputs(batch)
        plan = frozen.plan_for(inputs[0], [])
        assert isinstance(plan, Plan)
        for call, value, tensor in steps_with_values(plan, frozen.graph, inputs[0], []):
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                yield call.name, value, tensor.float()


def codes_for(seen: Seen, method: str = METHODS[0]) -> Codes:
    """Return the codes of a value."""
    if not seen.high - seen.low > SMALLEST_RANGE:
        return Codes()
    low, high = _cut(seen, method)
    scale = max((high - low) / LARGEST_CODE, SMALLEST_RANGE)
    return Codes(scale, min(max(round(-low / scale), 0), LARGEST_CODE))


def coding_error(seen: Seen, codes: Codes) -> float:
    """Return the expected mean square of the difference that codes make, by the histogram."""
    low, high = -codes.scale * codes.zero, codes.scale * (LARGEST_CODE - codes.zero)
    return float(_squared_error(seen, low, high) / seen.counts.sum().clamp(min=1))


def _cut(seen: Seen, method: str) -> tuple[float, float]:
    if method == "max" or not seen.counts.sum():
        return seen.low, seen.high
    if method == "percentile":
        return _percentile(seen)
    loss = _squared_error if method == "mse" else _divergence
    shares = [(i + 1) / CUTS for i in range(CUTS)]
    high = _best(shares, lambda share: loss(seen, seen.low, seen.high * share)) * seen.high if seen.high else 0.0
    low = _best(shares, lambda share: loss(seen, seen.low * share, high)) * seen.low if seen.low else 0.0
    return low, high


def _best(shares: list[float], loss: Callable[[float], float]) -> float:
    return min(reversed(shares), key=loss)  # the largest of equal ones


def _percentile(seen: Seen) -> tuple[float, float]:
    below = seen.counts.cumsum(0) / seen.counts.sum()
    outside = (1 - PERCENTILE / 100) / (2 if seen.low and seen.high else 1)
    centres = seen.centres
    last = centres[int((below < 1 - outside).sum().clamp(max=BINS - 1))] if seen.high else 0.0
    first = centres[int((below <= outside).sum().clamp(max=BINS - 1))] if seen.low else 0.0
    return min(float(first), 0.0), max(float(last), 0.0)


def _squared_error(seen: Seen, low: float, high: float) -> float:
    x = seen.centres
    cut = (x - x.clamp(low, high)).square()
    step = (high - low) / LARGEST_CODE
    return float((seen.counts * torch.where((x < low) | (x > high), cut, step**2 / 12)).sum())


def _divergence(seen: Seen, low: float, high: float) -> float:
    """Return the divergence of the histogram, cut at its ends, from what codes keep of it: each code's mean.

    What a code of 0 stands for, exactly, is left out: behind a ReLU it is half of all, and no range loses it.
    """
    if not high - low > SMALLEST_RANGE:
        return float("inf")
    x, counts = seen.centres, seen.counts.clone()
    inside = (x >= low) & (x <= high)
    width = (seen.high - seen.low) / BINS
    counts[x.abs() <= width] = 0
    places = ((x.clamp(low, high) - low) / (high - low) * LARGEST_CODE).round().long()
    cut = counts[inside].clone()
    if not cut.sum():
        return float("inf")
    whole = counts.sum()
    cut[0] += counts[x < low].sum()
    cut[-1] += counts[x > high].sum()
    kept, filled = counts[inside], (counts[inside] > 0).double()
    sums = torch.zeros(LEVELS, dtype=torch.float64).index_add_(0, places[inside], kept)
    parts = torch.zeros(LEVELS, dtype=torch.float64).index_add_(0, places[inside], filled)
    coded = (sums / parts.clamp(min=1))[places[inside]] * filled
    p, q = cut / whole, coded / coded.sum().clamp(min=1e-300)
    some = p > 0
    return float((p[some] * (p[some] / q[some].clamp(min=1e-12)).log()).sum())
