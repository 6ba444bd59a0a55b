"""One step of optimisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hgfast.data import network_input
from hgfast.predict import autocast
from hgfast.train.config import Config
from hgfast.train.loss import heatmap_loss
from hgfast.train.parallel import World


class TrainingStep:
    """Forward, loss, backward and Adam for a batch of a :class:`hgfast.data.PoseDataset`.

    Args:
        config: precision, normalisation, targets.
        model: the network, on its device already.
        device: that device.
        world: the processes that train together.
    """

    def __init__(self, config: Config, model: nn.Module, device: torch.device, world: World) -> None:
        self.config, self.device = config, device
        self.model = world.wrap(model)
        self.optimizer = torch.optim.Adam(trainable(model), lr=config.lr)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")

    def __call__(self, batch: dict[str, Tensor], rate: float) -> Tensor:
        """Makes a step at learning rate ``rate``; returns the loss without waiting for it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, keypoints, visible = (
            batch[name].to(self.device, non_blocking=True) for name in ("image", "keypoints", "visible")
        )
        with autocast(self.device, self.config.amp):
            stacks = self.model(network_input(images, self.config.mean, self.config.std))
        loss = heatmap_loss(self.config, stacks, keypoints, visible)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss * self.config.loss_scale).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that take part: weights kept only for loading and saving (requires_grad off) are left alone."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
