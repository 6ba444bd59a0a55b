"""Averaged weights: often a little more accurate than the last ones, and steadier from one validation to the next."""

from __future__ import annotations

import copy

import torch
from torch import nn

from hgfast import _checks


class AveragedModel:
    """Exponential moving average of a network's weights and BatchNorm statistics.

    After n steps it keeps ``min(decay, (1 + n) / (10 + n))`` of itself and takes the rest from the network, so that
    the weights that training began with are soon forgotten. Whole numbers (batch counters) are copied.

    Args:
        model: copied as it is.
        decay: 0 < decay < 1.

    Raises:
        TypeError, ValueError: another kind of argument, or another decay.

    Attributes:
        model: a network of its own, in evaluation mode, without gradients.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        _checks.instance("AveragedModel", "model", model, nn.Module)
        self.decay = _checks.number("AveragedModel", "decay", decay, above=0)
        if self.decay >= 1:
            raise ValueError(f"AveragedModel: decay must be less than 1, got {decay}")
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the network after optimisation step ``step``, counted from 0.

        Raises:
            TypeError, ValueError: no network like the one that is averaged, or no number of a step.
        """
        _checks.instance("AveragedModel", "model", model, nn.Module)
        _checks.integer("AveragedModel", "step", step, 0)
        take = 1 - min(self.decay, (1 + step) / (10 + step))
        mine, theirs = (list(one.state_dict().values()) for one in (self.model, model))
        if [value.shape for value in mine] != [value.shape for value in theirs]:
            raise ValueError("AveragedModel: model must have the weights of the one that is averaged")
        floats = [i for i, value in enumerate(mine) if value.is_floating_point()]
        torch._foreach_lerp_([mine[i] for i in floats], [theirs[i] for i in floats], take)
        for i in set(range(len(mine))).difference(floats):
            mine[i].copy_(theirs[i])
