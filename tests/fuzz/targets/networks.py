"""Networks: built, fused, frozen, saved and loaded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

import hgfast
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.compare import difference
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Instance, Int, Ints
from tests.fuzz.kinds import Path as PathKind
from tests.fuzz.targets.modules import randomised
from tests.fuzz.tensor_kinds import Tensor
from tests.small_models import FAMILIES, small_model

UNIT = {"tiny": 8, "mmpose": 16, "princeton": 64}
NETWORKS = (*["tiny"] * 10, *FAMILIES)  # files of the larger ones have hundreds of weights


@cache
def trained(family: str, implementation: str = "fused", stacks: int = 1) -> nn.Module:
    """A small network with random weights, in evaluation mode; not to be changed."""
    if family == "tiny":
        model: nn.Module = hgfast.models.HourglassPose(2, stacks, 1, (4, 4), (1, 1), 4, (4, 4), implementation)
    else:
        model = small_model(family, implementation, num_stacks=stacks)
    return randomised(model).eval()


@cache
def frozen(family: str) -> hgfast.FrozenModel:
    return hgfast.freeze(trained(family))


@cache
def networks() -> None:
    """Makes them all."""
    for family in UNIT:
        frozen(family)
        trained(family, "reference")


@target("models.build", 40)
def build(draw: Draw) -> Case:
    stages = {"stage_channels": Arg([4, 8, 6], Ints(None, 1)), "stage_blocks": Arg([1, 1, 1], Ints(None, 0))}
    common = {"num_keypoints": Arg(draw.one((1, 5)), Int(1)), "implementation": Arg("fused", Choice())}
    if draw.chance(0.5):
        arguments = {"name": Arg(draw.one(("hourglass52", "hourglass104")), Choice())} | common | stages
        arguments |= {
            "downsample_times": Arg(2, Int(1)),
            "feat_channel": Arg(8, Int(1)),
            "stem_channels": Arg((4, 4), Ints(2, 1)),
        }
    else:
        arguments = {"name": Arg(draw.one(("hg1", "hg2")), Choice())} | common
        arguments |= {
            "channels": Arg(8, Int(2)),
            "increase": Arg(draw.one((0, 2)), Int(2 - 8)),
            "stem_channels": Arg((4, 6), Ints(2, 1)),
        }
    if draw.chance(0.3):
        arguments["num_stacks"] = Arg(2, Int(1))
    return call(draw, hgfast.models.build, arguments)


def images(draw: Draw, family: str) -> torch.Tensor:
    unit = UNIT[family]
    return draw.tensor(draw.one((0, 1, 2)), 3, unit * draw.one((1, 1, 2)), unit * draw.one((1, 1, 2)))


def _stacks(wanted: Callable[[], Any], allowed: float) -> Callable[[Any], str | None]:
    def check(result: Any) -> str | None:
        pairs = zip(result, wanted(), strict=True)
        return next((c for own, other in pairs if (c := difference(own, other, allowed))), None)

    return check


@target("models.forward", 25, needs=[networks])
def model_forward(draw: Draw) -> Case:
    family = draw.one(NETWORKS)
    model, twin = trained(family), trained(family, "reference")
    twin.load_state_dict(model.state_dict())
    x = images(draw, family)
    arguments = {"images": Arg(x, Tensor((1, 2, 3), tied=True))}
    if family != "princeton":  # takes up to 3 pixels less
        arguments["images"].fine = ("smaller in 2", "smaller in 3")
    with torch.no_grad():
        return call(draw, torch.no_grad()(model), arguments, _stacks(lambda: torch.no_grad()(twin)(x), 1e-3))


@target("fuse", 25, needs=[networks])
def fuse(draw: Draw) -> Case:
    family = draw.one(NETWORKS)
    model = copy.deepcopy(trained(family, "reference"))
    x = images(draw, family)[:1]
    arguments = {"model": Arg(model, Instance()), "recompute": Arg(draw.chance(0.5), Flag())}
    plain = trained(family, "reference")

    def check(fused: Any) -> str | None:
        with torch.no_grad():
            complaint = _stacks(lambda: plain(x), 1e-3)(fused(x))
            return complaint or _stacks(lambda: plain(x), 1e-6)(hgfast.unfuse(fused)(x))

    return call(draw, hgfast.fuse, arguments, check)


@target("unfuse", 15, needs=[networks])
def unfuse(draw: Draw) -> Case:
    return call(draw, hgfast.unfuse, {"model": Arg(copy.deepcopy(trained(draw.one(NETWORKS))), Instance())})


@target("nn.convert_sync_batchnorm", 15, needs=[networks])
def convert_sync_batchnorm(draw: Draw) -> Case:
    model = copy.deepcopy(trained(draw.one(NETWORKS)))
    return call(draw, hgfast.nn.convert_sync_batchnorm, {"model": Arg(model, Instance())})


@target("freeze", 25, needs=[networks])
def freeze(draw: Draw) -> Case:
    family = draw.one(NETWORKS)
    x = images(draw, family)[:1]
    arguments = {
        "model": Arg(trained(family), Instance()),
        "dtype": Arg(draw.one((None, torch.float32)), Choice(optional=True)),
        "cuda_graph": Arg(False, Flag(), fine=()),
        "batch_sizes": Arg(draw.one((None, [1, 2])), Ints(None, 1, optional=True)),
    }
    return call(draw, hgfast.freeze, arguments, lambda made: _frozen_check(family, x)(made(x)))


def _frozen_check(family: str, x: torch.Tensor) -> Callable[[Any], str | None]:
    return _stacks(lambda: torch.no_grad()(trained(family))(x), 3e-3)


@target("FrozenModel.forward", 40, needs=[networks])
def frozen_forward(draw: Draw) -> Case:
    family = draw.one(NETWORKS)
    x = images(draw, family)
    arguments = {"images": Arg(x, Tensor((1, 2, 3)), fine=("torch.float64", "torch.float8_e4m3fn"))}
    if family != "princeton":
        arguments["images"].fine = ("torch.float64", "torch.float8_e4m3fn", "smaller in 2", "smaller in 3")
    return call(draw, frozen(family), arguments, _frozen_check(family, x))


@target("FrozenModel.plan", 60, needs=[networks])
def frozen_plan(draw: Draw) -> Case:
    """plan and describe."""
    family = draw.one(NETWORKS)
    unit = UNIT[family]
    model = frozen(family)
    arguments = {name: Arg(unit, Int(1)) for name in ("height", "width")} | {"batch": Arg(1, Int(1))}
    return call(draw, draw.one((model.plan, model.describe)), arguments)


@target("FrozenModel.load", 25, needs=[networks])
def frozen_load(draw: Draw) -> Case:
    family = draw.one(NETWORKS)
    path, x = draw.folder / "net.pt", images(draw, family)[:1]
    frozen(family).save(path)
    arguments = {
        "path": Arg(path, PathKind()),
        "dtype": Arg(torch.float32, Choice()),
        "device": Arg("cpu", Choice()),
        "cuda_graph": Arg(False, Flag()),
        "batch_sizes": Arg(draw.one((None, [1, 2])), Ints(None, 1, optional=True)),
        "tf32": Arg(draw.one((None, False)), Flag(optional=True)),
    }
    return call(draw, hgfast.FrozenModel.load, arguments, lambda made: _frozen_check(family, x)(made(x)))
