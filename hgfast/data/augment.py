"""Random changes of the training crops, with the distributions of MMPose and of princeton-vl."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hgfast import _checks
from hgfast.data.colour import Colour
from hgfast.data.keypoint_set import KeypointSet


@dataclass(frozen=True)
class Change:
    """One drawn change: mirror, resize the box, turn (degrees), move the box (fractions of its size), colour.

    Raises:
        TypeError, ValueError: values of other types, not finite, or a scale below 0.
    """

    flip: bool = False
    scale: float = 1.0
    rotation: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    colour: Colour | None = None

    def __post_init__(self) -> None:
        _checks.flag("", "flip", self.flip)
        _checks.number("", "scale", self.scale, 0, 1e6)
        _checks.number("", "rotation", self.rotation, -1e6, 1e6)
        if not isinstance(self.shift, (tuple, list)) or len(self.shift) != 2:
            raise ValueError(f"shift must be two numbers, got {_checks.describe(self.shift)}")
        for i, value in enumerate(self.shift):
            _checks.number("", f"shift[{i}]", value, -1e6, 1e6)
        if self.colour is not None:
            _checks.instance("", "colour", self.colour, Colour)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training crop; the defaults are those of MMPose's MPII hourglass recipe.

    Attributes:
        flip_prob: probability of mirroring.
        distribution: of t below: "normal" is MMPose's, a standard normal one cut off at -1 and 1 (of deviation 0.54
            then); "uniform" is princeton-vl's, between -1 and 1.
        scale: the box is resized by ``1 + scale * t``.
        rotation: degrees; the crop is turned by ``rotation * t`` ...
        rotate_prob: ... with this probability.
        shift_prob: probability of moving the box by ``shift * t`` of its size, in both axes, with a t for each.
        shift: see ``shift_prob``.
        half_body_prob: probability of showing only the upper or the lower half of a person.
        colour_prob: probability of princeton-vl's change of hue, saturation, brightness and contrast, see
            :class:`hgfast.data.colour.Colour`. (There it comes with the mirror image, and only with it.)

    Raises:
        TypeError: a setting that is no number.
        ValueError: another distribution, a probability or a scale outside 0..1, or a number that is not finite.
    """

    flip_prob: float = 0.5
    distribution: str = "normal"
    scale: float = 0.5
    rotation: float = 80.0
    rotate_prob: float = 0.6
    shift_prob: float = 0.0
    shift: float = 0.16
    half_body_prob: float = 0.0
    colour_prob: float = 0.0

    def __post_init__(self) -> None:
        _checks.choice("", "distribution", self.distribution, tuple(_DRAW))
        for name in ("flip_prob", "rotate_prob", "shift_prob", "half_body_prob", "colour_prob", "scale"):
            object.__setattr__(self, name, _checks.number("", name, getattr(self, name), 0, 1))
        for name in ("rotation", "shift"):
            object.__setattr__(self, name, _checks.number("", name, getattr(self, name), -1e6, 1e6))

    def draw(self, rng: np.random.Generator) -> Change:
        """Draw a random change; raises TypeError for what is no ``numpy.random.Generator``."""
        _checks.instance("", "rng", rng, np.random.Generator)
        flipped, turned, moved = (rng.random(3) < (self.flip_prob, self.rotate_prob, self.shift_prob)).tolist()
        scale, rotation, shift_x, shift_y = (_DRAW[self.distribution](rng) for _ in range(4))
        coloured = self.colour_prob > 0 and rng.random() < self.colour_prob
        return Change(
            flip=flipped,
            scale=1 + self.scale * scale,
            rotation=self.rotation * rotation if turned else 0.0,
            shift=(self.shift * shift_x, self.shift * shift_y) if moved else (0.0, 0.0),
            colour=Colour.draw(rng) if coloured else None,
        )


def _truncated_normal(rng: np.random.Generator) -> float:
    while True:
        t = rng.standard_normal()
        if abs(t) <= 1:
            return t


def _uniform(rng: np.random.Generator) -> float:
    return float(rng.uniform(-1, 1))


_DRAW: dict[str, Callable[[np.random.Generator], float]] = {"normal": _truncated_normal, "uniform": _uniform}


def half_body(
    keypoints: np.ndarray, visible: np.ndarray, table: KeypointSet, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Centre and size of a box around the upper or the lower half of a person (MMPose's RandomHalfBody).

    Returns None when fewer than 9 joints are labelled, or neither half has enough of them (2 above, 3 below). The
    upper half is taken with probability 0.7 where both would do. The box is 1.5 times as large as the joints' extent.

    Args:
        keypoints: (K, 2) float32 points of the table's joints.
        visible: (K,), > 0 where the joint is labelled.
        table: which joints are the upper ones.
        rng: source of the choice.

    Raises:
        TypeError, ValueError: arguments of other types or shapes.
    """
    _checks.instance("", "table", table, KeypointSet)
    _checks.instance("", "rng", rng, np.random.Generator)
    keypoints = _checks.array("", "keypoints", keypoints, (table.count, 2))
    visible = _checks.array("", "visible", visible, (table.count,))
    labelled = np.flatnonzero(visible > 0)
    upper = [k for k in labelled if k in table.upper]
    lower = [k for k in labelled if k not in table.upper]
    prefer_upper = rng.random() < 0.7
    enough_upper, enough_lower = len(upper) >= 2, len(lower) >= 3
    if len(labelled) < 9 or not (enough_upper or enough_lower):
        return None
    chosen = upper if enough_upper and (prefer_upper or not enough_lower) else lower
    points = keypoints[chosen]
    return points.mean(axis=0), (points.max(axis=0) - points.min(axis=0)) * np.float32(1.5)
