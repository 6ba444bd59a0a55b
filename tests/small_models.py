"""Networks of both families that are small enough to run in a blink."""

from __future__ import annotations

from torch import nn

from hgfast import models

FAMILIES = ["mmpose", "princeton"]


class ShallowHourglass(models.StackedHourglass):
    depth = 2


def small_model(
    family: str,
    implementation: str = "fused",
    num_keypoints: int = 5,
    num_stacks: int = 2,
    increase: int = 0,
    stem: tuple[int, int] = (4, 8),
    shallow: bool = False,
) -> nn.Module:
    """A network of unequal widths; sizes are multiples of 16 for "mmpose", of 64 for "princeton".

    shallow: hourglasses of two levels for "princeton" too, whose compilation or tracing takes a third of the time.
    """
    if family == "mmpose":
        widths = (stem[1], 6, 10)
        return models.HourglassPose(num_keypoints, num_stacks, 2, widths, (1, 2, 1), 12, stem, implementation)
    return (ShallowHourglass if shallow else models.StackedHourglass)(
        num_stacks, 12, num_keypoints, increase, (6, 8), implementation
    )
