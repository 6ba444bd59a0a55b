"""Models by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hgfast import _checks as checks
from hgfast.models.common import PoseNetwork
from hgfast.models.hourglass_pose import HourglassPose
from hgfast.models.stacked_hourglass import StackedHourglass

__all__ = ["MODELS", "build"]

MODELS: dict[str, Callable[..., PoseNetwork]] = {
    "hourglass52": partial(HourglassPose, num_stacks=1),
    "hourglass104": partial(HourglassPose, num_stacks=2),
    "hg1": partial(StackedHourglass, num_stacks=1),
    "hg2": partial(StackedHourglass, num_stacks=2),
    "hg8": partial(StackedHourglass, num_stacks=8),
}


def build(name: str, **overrides: Any) -> PoseNetwork:
    """Build a model by name.

    Args:
        name: "hourglass52" or "hourglass104" (:class:`HourglassPose`), "hg1", "hg2" or "hg8"
            (:class:`StackedHourglass`).
        **overrides: Arguments of the class to change, for instance ``num_keypoints=17``.

    Raises:
        ValueError: If there is no model of that name, or a number is out of range.
        TypeError: If name is not a str, or the class has no such argument, or not of that type.
    """
    checks.choice("build", "name", name, sorted(MODELS))
    return MODELS[name](**overrides)
