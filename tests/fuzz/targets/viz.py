"""Drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from hgfast import viz
from hgfast.data import KEYPOINT_SETS
from tests.fuzz.cases import Arg, Case, Spoiler, call, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Instance, Int, Number, Text, _ways, wrong_types
from tests.fuzz.tensor_kinds import Array


class Picture:
    """uint8 (H, W, 3) with at least one pixel."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        ways = Array((2,), {0: 1, 1: 1}, strict=True).spoilers(value, draw)
        others = {
            "float": value.astype(np.float32), "int32": value.astype(np.int32), "bool": value > 0, "path": "a.png",
            "grey": value[..., 0], "alpha": np.zeros((*value.shape[:2], 4), np.uint8),
        }  # fmt: skip
        return ways + _ways(others)


def picture(draw: Draw, least: int = 1) -> np.ndarray:
    height, width = (max(draw.one((1, 2, 5, 40, 97)), least) for _ in range(2))
    image = draw.numpy.integers(0, 256, (height, width, 3), dtype=np.uint8)
    way = draw.one(("plain", "plain", "reversed", "sliced", "read-only"))
    if way == "reversed":
        return image[:, ::-1]
    if way == "sliced":
        return np.repeat(np.repeat(image, 2, 0), 2, 1)[::2, ::2]
    if way == "read-only":
        image.flags.writeable = False
    return image


@target("viz.joint_colours", 60)
def joint_colours(draw: Draw) -> Case:
    table = draw.one(list(KEYPOINT_SETS.values()))

    def check(colours: np.ndarray) -> str | None:
        return None if colours.shape == (table.count, 3) else f"shape {colours.shape}"

    return call(draw, viz.joint_colours, {"table": Arg(table, Instance())}, check)


@target("viz.draw_people", 250)
def draw_people(draw: Draw) -> Case:
    table = draw.one(list(KEYPOINT_SETS.values()))
    image, p = picture(draw), draw.one((0, 1, 3))
    keypoints = draw.array(p, table.count, 2, low=-20, high=100)
    if keypoints.size and draw.chance(0.3):
        keypoints[..., 0].flat[0] = draw.one((np.nan, np.inf, 1e30, -1e9))
    arguments = {
        "image": Arg(image, Picture()),
        "keypoints": Arg(keypoints, Array((1, 2))),
        "table": Arg(table, Instance()),
    }
    if draw.chance(0.6):
        arguments["keypoints"].kind = Array((0, 1, 2))
        arguments["scores"] = Arg(draw.array(p, table.count, high=1), Array((0, 1), optional=True))
        arguments["min_score"] = Arg(draw.float(0, 1), Number(infinite=True))
    if draw.chance(0.5):
        arguments["boxes"] = Arg(draw.array(p, 4), Array((1,), optional=True))
    before = image.copy()

    def check(result: Any) -> str | None:
        if not (image == before).all():
            return "the picture was changed"
        same = result.shape == image.shape and result.dtype == np.uint8
        return None if same else f"{result.dtype} {result.shape}"

    return call(draw, viz.draw_people, arguments, check)


@target("viz.write_label", 80)
def write_label(draw: Draw) -> Case:
    image = picture(draw)
    arguments = {"image": Arg(image, Picture()), "text": Arg("label", Text())}
    return call(draw, viz.write_label, arguments, lambda result: None if result.shape == image.shape else "shape")


class Pictures:
    """A sequence of pictures; what is wrong with a picture is wrong with a member."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        ways = _ways(wrong_types() | {"number": 3, "member None": [None], "text": "abc"})
        if value:
            at = draw.int(0, len(value) - 1)
            for way in Picture().spoilers(value[at], draw):
                replace = lambda make=way.make: [*value[:at], make(), *value[at + 1 :]]  # noqa: E731
                ways.append(Spoiler(f"member: {way.label}", replace, way.either))
        return ways


@target("viz.grid", 150)
def grid(draw: Draw) -> Case:
    images = [picture(draw) for _ in range(draw.one((0, 1, 2, 5)))]
    columns, cell, gap = draw.one((1, 2, 3)), draw.one((1, 16, 64)), draw.one((0, 4))
    arguments = {
        "images": Arg(images, Pictures()),
        "columns": Arg(columns, Int(1), fine=("2^31",)),
        "cell": Arg(cell, Int(1)),
        "gap": Arg(gap, Int(0)),
    }
    wide = columns * (cell + gap) + gap
    return call(draw, viz.grid, arguments, lambda sheet: None if sheet.shape[1:] == (wide, 3) else f"{sheet.shape}")
