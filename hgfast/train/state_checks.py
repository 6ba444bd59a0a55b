"""What the parts of a training run's state must be before any of it is taken: a damaged file is named by its field."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from hgfast import _checks
from hgfast.checkpoint import CheckpointError

_LARGEST = 2**53  # of counters


@contextmanager
def as_checkpoint_error() -> Iterator[None]:
    """Turn what a check raises into a CheckpointError."""
    try:
        yield
    except TypeError as error:
        raise CheckpointError(str(error)) from None


def check_parts(where: str, content: dict[str, Any], position: type) -> None:
    """Check all that can be said without the network; ``position`` is the class of the run's place."""
    for name, check in _PARTS.items():
        check(where, name, content[name])
    place = content["position"]
    known = {field.name for field in fields(position)}
    _same_names(where, "position", place, known)
    for name in ("epoch", "batch", "step"):
        _checks.integer(where, f"position.{name}", place[name], 0, _LARGEST)
    _checks.integer(where, "position.best_epoch", place["best_epoch"], -1, _LARGEST)
    _checks.number(where, "position.loss_sum", place["loss_sum"], 0)
    if place["best"] is not None:
        _checks.number(where, "position.best", place["best"])


def check_like(where: str, name: str, value: Any, like: Tensor) -> None:
    """Require a tensor with finite values, of the same shape and dtype."""
    _checks.tensor(where, name, value, dtypes=(like.dtype,))
    _checks.shape(where, name, value, like.shape)
    if value.device.type == "meta":
        raise TypeError(f"{where}: {name} must have data, got a meta tensor")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ValueError(f"{where}: {name} must be finite, got NaN or an infinity")


def check_optimizer(where: str, stored: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Adam's averages of all parameters or of none (before the first step), and the rate; the rest it has itself.

    Returns:
        what ``optimizer.load_state_dict`` takes, in the layouts of the weights: the fused Adam pairs numbers by their
        places in memory, whatever the strides say.
    """
    own = optimizer.state_dict()["param_groups"]
    _same_names(where, "optimizer", stored, {"state", "param_groups"})
    groups, states = stored["param_groups"], stored["state"]
    if not isinstance(groups, list) or len(groups) != len(own) or not all(isinstance(group, dict) for group in groups):
        count = "one dict" if len(own) == 1 else f"{len(own)} dicts"
        raise TypeError(
            f"{where}: optimizer.param_groups must be a list of {count} (as backbone_rate says), "
            f"got {reprlib.repr(groups)}"
        )
    rates = [
        _rate(where, f"optimizer.param_groups[{i}]", *pair) for i, pair in enumerate(zip(groups, own, strict=True))
    ]
    if states != {}:
        _same_names(where, "optimizer.state", states, {number for group in own for number in group["params"]})
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, entry in states.items():
        name, like = f"optimizer.state[{number}]", parameters[number]
        _same_names(where, name, entry, {"step", "exp_avg", "exp_avg_sq"})
        check_like(where, f"{name}.step", entry["step"], torch.zeros((), dtype=torch.float32))
        for average in ("exp_avg", "exp_avg_sq"):
            check_like(where, f"{name}.{average}", entry[average], like)
            entry[average] = _laid_out(entry[average], like)
    return {"state": states, "param_groups": [group | {"lr": rate} for group, rate in zip(own, rates, strict=True)]}


def _rate(where: str, name: str, stored: dict[str, Any], own: dict[str, Any]) -> float:
    """Return the learning rate of a group that has the same weights."""
    numbers = _checks.integers(where, f"{name}.params", stored.get("params"), len(own["params"]))
    if numbers != own["params"]:
        raise ValueError(f"{where}: {name}.params must count the weights, got {reprlib.repr(numbers)}")
    return _checks.number(where, f"{name}.lr", stored.get("lr"), 0)


def _laid_out(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if value.stride() == like.stride():
        return value
    return torch.empty_like(like, device=value.device, requires_grad=False).copy_(value)


def check_scaler(where: str, stored: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the scale of a torch.amp.GradScaler and the steps since it grew; the rest it has itself.

    Returns:
        what ``load_state_dict`` takes.
    """
    _same_names(where, "scaler", stored, set(own))
    scale = _checks.number(where, "scaler.scale", stored["scale"], 0, 3e38)
    steps = _checks.integer(where, "scaler._growth_tracker", stored["_growth_tracker"], 0, own["growth_interval"])
    for name in ("growth_factor", "backoff_factor", "growth_interval"):
        _checks.number(where, f"scaler.{name}", stored[name], 0)
    return own | {"scale": scale, "_growth_tracker": steps}


def _same_names(where: str, name: str, value: Any, known: set[Any]) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{where}: {name} must be a dict, got {_checks.describe(value)}")
    for words, names in (("lacks", known - value.keys()), ("must not have", value.keys() - known)):
        if names:
            raise ValueError(f"{where}: {name} {words} {reprlib.repr(sorted(names, key=str))}")


def _dict(where: str, name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where}: {name} must be a dict, got {_checks.describe(value)}")


def _meta(where: str, name: str, value: Any) -> None:
    _dict(where, name, value)
    _checks.instance(where, f"{name}.hgfast", value.get("hgfast"), str)
    for part in ("config", "metrics"):
        _dict(where, f"{name}.{part}", value.get(part))
    for key, measure in value["metrics"].items():
        if not isinstance(key, str) or not isinstance(measure, float):
            raise TypeError(f"{where}: {name}.metrics[{key!r}] must be a float, got {_checks.describe(measure)}")


def _ranks(where: str, name: str, value: Any) -> None:
    _checks.tensor(where, name, value, ndim=2, dtypes=(torch.float64,))
    check_like(where, name, value, value)
    if not len(value):
        raise ValueError(f"{where}: {name} must have a row for each process, got none")


def _rng(where: str, name: str, value: Any) -> None:
    check_like(where, name, value, torch.get_rng_state())


def _cuda_rng(where: str, name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise TypeError(f"{where}: {name} must be a list, got {_checks.describe(value)}")
    for i, state in enumerate(value):
        _checks.tensor(where, f"{name}[{i}]", state, ndim=1, dtypes=(torch.uint8,))


def _dict_or_none(where: str, name: str, value: Any) -> None:
    if value is not None:
        _dict(where, name, value)


_PARTS: dict[str, Callable[[str, str, Any], None]] = {
    "meta": _meta,
    "state_dict": _dict,
    "averaged": _dict_or_none,
    "optimizer": _dict,
    "scaler": _dict,
    "position": _dict,
    "ranks": _ranks,
    "rng": _rng,
    "cuda_rng": _cuda_rng,
}
PARTS = frozenset(_PARTS)
