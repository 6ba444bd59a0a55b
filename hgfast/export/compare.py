"""An exported network held against the one that it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

TOLERANCE = 1e-3
"""Allowed ||exported - original|| / ||original|| of heatmaps or scores; runtimes of float32 differ by some 1e-6."""
NEAR, FEWEST_NEAR = 0.1, 0.9
"""Keypoints that lie so near, in pixels, and the least part of them: maxima of noise may be close together."""

Run = Callable[[Tensor], Sequence[Tensor]]


class ExportError(RuntimeError):
    """What was exported differs from the network."""


@dataclass(frozen=True)
class Differences:
    """Between what an exported network gives and the original.

    Attributes:
        images: how many were tried, of random numbers.
        values: ||exported - original|| / ||original|| of the heatmaps, or of the scores.
        near: the part of the keypoints within 0.1 pixels of the original's; None without a decoder.
        median: of the keypoints' distances, pixels; None without a decoder.
    """

    images: int
    values: float
    near: float | None = None
    median: float | None = None

    def __str__(self) -> str:
        if self.near is None:
            return f"heatmaps of {self.images} random images differ by {self.values:.1e} of their size"
        return (
            f"of {self.images} random images {100 * self.near:.1f} % of the keypoints within {NEAR} pixels (median "
            f"distance {self.median:.1e}), scores differ by {self.values:.1e} of their size"
        )

    @property
    def allowed(self) -> bool:
        """Whether the exported network may be used in the original's place."""
        return self.values <= TOLERANCE and (self.near is None or self.near >= FEWEST_NEAR)


def differences_of(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Differences:
    """Between what an exported network gives and the original: heatmaps (N, K, h, w), or keypoints and scores."""
    difference, size = float((ours[-1] - theirs[-1]).norm()), float(theirs[-1].norm())
    values = difference / size if size else difference
    if len(theirs) == 1:
        return Differences(len(theirs[-1]), values)
    distances = (ours[0] - theirs[0]).norm(dim=-1)
    return Differences(len(theirs[-1]), values, float((distances <= NEAR).double().mean()), float(distances.median()))
