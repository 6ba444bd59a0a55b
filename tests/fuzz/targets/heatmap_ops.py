"""The ops of training on heatmaps: targets and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hgfast import ops, reference
from hgfast.reference.gaussian_heatmaps import GAUSSIAN_KINDS
from tests.fuzz.cases import Arg, Case, Spoiler, call, target
from tests.fuzz.compare import difference
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Ints, Number
from tests.fuzz.targets.ops import values_of
from tests.fuzz.tensor_kinds import Tensor

SEEN = (torch.bool, torch.uint8, torch.int64)


def points(draw: Draw, n: int, k: int, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keypoints in and around maps of this size, some of them far away or nowhere, and whether they are visible."""
    keypoints = draw.tensor(n, k, 2, plain=True).sub(0.6) * torch.tensor([w, h]) * 1.3
    if keypoints.numel() and draw.chance(0.3):
        keypoints.view(-1)[draw.int(0, keypoints.numel() - 1)] = draw.one((torch.inf, torch.nan, -1e30, 1e9, -0.5, 0.0))
    visible = (draw.tensor(n, k, plain=True) > 0.7).float() * draw.one((1.0, 2.0, 0.49, 0.5))
    dtype = draw.one((torch.float32, torch.float32, torch.float64, torch.bool, torch.int64, torch.float16))
    return keypoints, visible.to(dtype)


@target("ops.gaussian_heatmaps", 200)
def gaussian_heatmaps(draw: Draw) -> Case:
    n, k, h, w = draw.maps()
    keypoints, visible = points(draw, n, k, h, w)
    arguments = {
        "keypoints": Arg(keypoints, Tensor((0, 1, 2))),
        "visible": Arg(visible, Tensor((0, 1), dtypes=SEEN)),
        "size": Arg((w, h), Ints(2, 1)),
        "sigma": Arg(draw.one((0.3, 1, 1.5, 2.0, 7.0)), Number(above=0)),
        "kind": Arg(draw.one(GAUSSIAN_KINDS), Choice()),
        "dtype": Arg(draw.dtype(), Choice()),
    }
    values = values_of(arguments)

    def check(result: Any) -> str | None:
        maps, weights = result
        wanted, wanted_weights = reference.gaussian_heatmaps(**values)
        return difference(weights, wanted_weights, 0, "weights") or difference(maps, wanted, 1e-2, "heatmaps")

    return call(draw, ops.gaussian_heatmaps, arguments, check)


def stacks(draw: Draw, n: int, k: int, h: int, w: int, dtype: torch.dtype) -> Any:
    grad = draw.chance(0.7)
    maps = [draw.tensor(n, k, h, w, dtype=dtype, grad=grad) for _ in range(draw.one((1, 1, 2, 3)))]
    return maps[0] if len(maps) == 1 else maps


class Stacks:
    """One tensor, or a list of such; what is wrong with a tensor is wrong with a member of the list."""

    def __init__(self, fixed: tuple[int, ...]) -> None:
        self.kind = Tensor(fixed)

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        unfit = ("nested list", "tuple", "ragged")
        if isinstance(value, torch.Tensor):
            return [way for way in self.kind.spoilers(value, draw) if way.label not in unfit]
        at = draw.int(0, len(value) - 1)
        members = Tensor(self.kind.fixed, tied=False).spoilers(value[at], draw)
        ways = [Spoiler("no stack", lambda: []), Spoiler("tuple", lambda: tuple(value), True)]
        for way in members:
            fine = way.either or way.label.startswith("another dtype")
            replace = lambda make=way.make: [*value[:at], make(), *value[at + 1 :]]  # noqa: E731
            ways.append(Spoiler(f"member {at}: {way.label}", replace, fine))
        return ways


@target("ops.keypoint_mse", 200)
def keypoint_mse(draw: Draw) -> Case:
    n, k, h, w = draw.maps(empty=0.03)
    dtype = draw.dtype()
    arguments = {
        "pred": Arg(stacks(draw, n, k, h, w, dtype), Stacks((0, 1, 2, 3))),
        "target": Arg(draw.tensor(n, k, h, w, dtype=draw.dtype()), Tensor((0, 1, 2, 3))),
    }
    if draw.chance(0.7):
        weight = draw.tensor(n, k, plain=True, dtype=draw.one((torch.float32, torch.float64, torch.int64, torch.bool)))
        arguments["weight"] = Arg(weight, Tensor((0, 1), dtypes=SEEN, optional=True))
    return call(draw, ops.keypoint_mse, arguments, _loss(_mse, values_of(arguments)))


def _mse(pred: Any, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    weight = None if weight is None else weight.double()
    target = target.detach()
    return torch.stack([reference.keypoint_mse(p, target, weight) for p in _as_list(pred)]).sum()


def _as_list(pred: Any) -> list[torch.Tensor]:
    return [pred] if isinstance(pred, torch.Tensor) else list(pred)


def _loss(expected: Callable[..., torch.Tensor], values: dict[str, Any]) -> Callable[[Any], str | None]:
    """Loss and the gradient of each stack."""

    def check(loss: torch.Tensor) -> str | None:
        copies = dict(values)
        preds = _as_list(values["pred"])
        copies["pred"] = [p.detach().double().clone().requires_grad_(p.requires_grad) for p in preds]
        copies |= {name: copies[name].double() for name in ("target",) if name in copies}
        wanted = expected(**copies)
        half = preds[0].dtype in (torch.float16, torch.bfloat16)
        complaint = difference(loss, wanted, 1e-4, "loss")
        if complaint or not loss.requires_grad or not preds[0].numel():
            return complaint
        ours = torch.autograd.grad(loss, preds)
        theirs = torch.autograd.grad(wanted, copies["pred"])
        scale = preds[0].numel() ** 0.5
        for own, other in zip(ours, theirs, strict=True):
            complaint = complaint or difference(own * scale, other * scale, 3e-2 if half else 1e-4, "gradient")
        return complaint

    return check


@target("ops.keypoint_mse_from_points", 150)
def keypoint_mse_from_points(draw: Draw) -> Case:
    n, k, h, w = draw.maps(empty=0.03)
    keypoints, visible = points(draw, n, k, h, w)
    arguments = {
        "pred": Arg(stacks(draw, n, k, h, w, draw.dtype()), Stacks((0, 1))),
        "keypoints": Arg(keypoints, Tensor((0, 1, 2))),
        "visible": Arg(visible, Tensor((0, 1), dtypes=SEEN)),
        "sigma": Arg(draw.one((0.5, 1.5, 2, 3.0)), Number(above=0)),
        "kind": Arg(draw.one(GAUSSIAN_KINDS), Choice()),
    }
    if isinstance(arguments["pred"].value, list):
        arguments["pred"].kind = Stacks((0, 1, 2, 3))
    return call(draw, ops.keypoint_mse_from_points, arguments, _loss(_mse_from_points, values_of(arguments)))


def _mse_from_points(pred: Any, keypoints: torch.Tensor, visible: torch.Tensor, sigma: float, kind: str) -> Any:
    size = (pred[0].shape[3], pred[0].shape[2])
    target, weight = reference.gaussian_heatmaps(keypoints, visible, size, sigma, kind, torch.float64)
    return _mse(pred, target, weight)
