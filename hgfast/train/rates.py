"""Learning rates where a captured step reads them: on CUDA a tensor for each group, its number kept by the host."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_NUMBER = "rate"  # of a group whose "lr" is a tensor: what the tensor was last given, which nobody has to wait for


def put_on(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Make every group's rate a tensor on a CUDA device, float32 of no dimensions; elsewhere it stays a number."""
    if device.type == "cuda":
        for group in optimizer.param_groups:
            group[_NUMBER] = float(group["lr"])
            group["lr"] = torch.full((), group[_NUMBER], dtype=torch.float32, device=device)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of a rate; nobody waits."""
    for group in optimizer.param_groups:
        _give(group, rate * group.get("share", 1.0))


def _give(group: dict[str, Any], number: float) -> None:
    if not isinstance(group["lr"], Tensor):
        group["lr"] = number
    elif group[_NUMBER] != number:
        group["lr"].fill_(number)
        group[_NUMBER] = number


def state_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimizer's state with numbers for rates: the same whatever device it was on."""
    state = optimizer.state_dict()
    for group in state["param_groups"]:  # dicts of their own
        if _NUMBER in group:
            group["lr"] = group.pop(_NUMBER)
    return state


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take a state with numbers for rates; where rates are tensors, these tensors stay and get the numbers.

    Raises:
        ValueError: a state of other groups.
    """
    kept = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, lr in zip(optimizer.param_groups, kept, strict=True):
        if isinstance(lr, Tensor):
            number, group["lr"], group[_NUMBER] = float(group["lr"]), lr, None
            _give(group, number)
