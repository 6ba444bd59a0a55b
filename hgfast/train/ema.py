"""Averaged weights: often a little more accurate than the last ones, and steadier from one validation to the next."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import Tensor, nn

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
        self._share: float | Tensor = 1.0  # of the network in the next average

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the network after optimisation step ``step``, counted from 0.

        Raises:
            TypeError, ValueError: no network like the one that is averaged, or no number of a step.
        """
        self.begin(step)
        self.mix(model)

    def begin(self, step: int) -> None:
        """Say which step, counted from 0, :meth:`mix` is to take in. On CUDA its share of that lies on the device,
        where a CUDA graph with :meth:`mix` in it reads it; nobody waits.

        Raises:
            TypeError, ValueError: no number of a step.
        """
        _checks.integer("AveragedModel", "step", step, 0)
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        like = next(chain(self.model.parameters(), self.model.buffers()), None)
        if like is None or like.device.type != "cuda":
            self._share = share
        elif isinstance(self._share, Tensor) and self._share.device == like.device:
            self._share.fill_(share)
        else:
            self._share = torch.full((), share, device=like.device)

    @torch.no_grad()
    def mix(self, model: nn.Module) -> None:
        """Take in the network after the step that :meth:`begin` was told.

        Raises:
            TypeError, ValueError: no network like the one that is averaged.
        """
        _checks.instance("AveragedModel", "model", model, nn.Module)
        mine, theirs = (list(one.state_dict().values()) for one in (self.model, model))
        if [value.shape for value in mine] != [value.shape for value in theirs]:
            raise ValueError("AveragedModel: model must have the weights of the one that is averaged")
        floats = [i for i, value in enumerate(mine) if value.is_floating_point()]
        averages, values = [mine[i] for i in floats], [theirs[i] for i in floats]
        if isinstance(self._share, Tensor):  # lerp would take it for each tensor by itself
            changes = torch._foreach_sub(values, averages)
            torch._foreach_mul_(changes, self._share)
            torch._foreach_add_(averages, changes)
        else:
            torch._foreach_lerp_(averages, values, self._share)
        for i in set(range(len(mine))).difference(floats):
            mine[i].copy_(theirs[i])
