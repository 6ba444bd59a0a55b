"""One step of optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from hgfast.data import network_input
from hgfast.models.common import PoseNetwork
from hgfast.predict import autocast
from hgfast.train.build import make_codec
from hgfast.train.config import Config
from hgfast.train.ema import AveragedModel
from hgfast.train.groups import parameter_groups, set_modes
from hgfast.train.parallel import World

Batch = dict[str, Tensor]


class TrainingStep:
    """Forward, loss, backward and Adam for batches of a :class:`hgfast.data.PoseDataset`.

    Args:
        config: precision, normalisation, targets, clipping, averaging.
        model: the network, on its device already.
        device: that device.
        world: the processes that train together.

    Attributes:
        averaged: the averaged weights, where the configuration asks for them.
    """

    def __init__(self, config: Config, model: PoseNetwork, device: torch.device, world: World) -> None:
        self.config, self.device, self.bare, self.codec = config, device, model, make_codec(config)
        groups = parameter_groups(model, config.backbone_rate)
        self.model = world.wrap(model)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(groups, lr=config.lr, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self.averaged = AveragedModel(model, config.ema) if config.ema else None

    @property
    def evaluated(self) -> nn.Module:
        """The network to be validated and kept: the averaged one where there is one."""
        return self.averaged.model if self.averaged else self.bare

    @property
    def models(self) -> list[nn.Module]:
        """All networks that a step changes."""
        return [self.bare, *([self.averaged.model] if self.averaged else [])]

    def begin_epoch(self) -> None:
        """Put the network into training mode, but for a backbone that is not trained."""
        set_modes(self.bare, self.config.backbone_rate)

    def __call__(self, batches: Sequence[Batch], rate: float, number: int = 0) -> Tensor:
        """Make a step and returns its loss without waiting for it.

        Args:
            batches: what the step is to see, one after the other; gradients and loss are those of all samples together
                (BatchNorm sees each batch by itself).
            rate: learning rate, of which each group of weights takes its share.
            number: of the step, from 0: how far the averaged weights are.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        samples = sum(len(batch["image"]) for batch in batches)
        total = torch.zeros((), device=self.device)
        for place, batch in enumerate(batches, start=1):
            last = place == len(batches)  # processes share gradients once a step
            with nullcontext() if last else getattr(self.model, "no_sync", nullcontext)():
                loss = self._loss(batch) * (len(batch["image"]) / samples)
                self.scaler.scale(loss * self.config.loss_scale).backward()
            total += loss.detach()
        self._update(number)
        return total

    def _loss(self, batch: Batch) -> Tensor:
        config = self.config
        images, keypoints, visible = (
            batch[name].to(self.device, non_blocking=True) for name in ("image", "keypoints", "visible")
        )
        with autocast(self.device, config.amp):
            stacks = self.model(network_input(images, config.mean, config.std))
        return self.codec.loss(stacks, keypoints, visible)

    def _update(self, number: int) -> None:
        if self.config.grad_clip:
            self.scaler.unscale_(self.optimizer)
            limit = self.config.grad_clip * self.config.loss_scale
            nn.utils.clip_grad_norm_(trainable(self.bare), limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged:
            self.averaged.update(self.bare, number)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that take part: weights only for loading and saving (requires_grad off) are left alone."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
