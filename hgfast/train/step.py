"""One step of optimisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from hgfast.data import network_input
from hgfast.models.common import PoseNetwork
from hgfast.predict import autocast
from hgfast.train import rates
from hgfast.train.build import make_codec
from hgfast.train.config import Config
from hgfast.train.ema import AveragedModel
from hgfast.train.graph import WARM_UP, Batch, GraphedSteps, why_not
from hgfast.train.groups import parameter_groups, set_modes
from hgfast.train.parallel import World


class TrainingStep:
    """Forward, loss, backward and Adam for batches of a :class:`hgfast.data.PoseDataset`.

    On CUDA steps of full batches are captured as a CUDA graph after the first few of them, and replayed, where
    ``config.cuda_graph`` does not say otherwise. Weights and statistics then stay in the memory that they are in.

    Args:
        config: precision, normalisation, targets, clipping, averaging.
        model: the network, on its device already.
        device: that device.
        world: the processes that train together.
        say: receives a line about the graph, on CUDA, and one where CUDA refuses it.

    Attributes:
        averaged: the averaged weights, where the configuration asks for them.
    """

    def __init__(
        self,
        config: Config,
        model: PoseNetwork,
        device: torch.device,
        world: World,
        say: Callable[[str], Any] = lambda _: None,
    ) -> None:
        self.config, self.device, self.bare, self.codec = config, device, model, make_codec(config)
        groups = parameter_groups(model, config.backbone_rate)
        self.model = world.wrap(model)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(groups, lr=config.lr, fused=True)
        rates.put_on(self.optimizer, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self.averaged = AveragedModel(model, config.ema) if config.ema else None
        self._graphed: GraphedSteps | None = None
        reason = why_not(config, device, world)
        if not reason:
            self._graphed = GraphedSteps(self._run, self._is_full, device, say)
            say(f"from step {WARM_UP + 1} on full batches run as one CUDA graph a step (cuda_graph=false: none)")
        elif device.type == "cuda":
            say(f"the steps run without a CUDA graph, launch by launch: {reason}")

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
        rates.set_rate(self.optimizer, rate)
        if self.averaged:
            self.averaged.begin(number)
        needed = [{name: batch[name] for name in ("image", "keypoints", "visible")} for batch in batches]
        if self._graphed is None:
            return self._run(needed)
        return self._graphed(needed, self.optimizer, self._forget_capture)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take a state of :func:`hgfast.train.rates.state_of`; raises ValueError for one of other groups."""
        if self._graphed is not None:
            self._graphed.drop()
        rates.load_state(self.optimizer, state)

    def _run(self, batches: Sequence[Batch]) -> Tensor:
        """Make a step whose rate and number are set: all that it launches may be captured."""
        self.optimizer.zero_grad(set_to_none=True)
        samples = sum(len(batch["image"]) for batch in batches)
        total = torch.zeros((), device=self.device)
        for place, batch in enumerate(batches, start=1):
            last = place == len(batches)  # processes share gradients once a step
            with nullcontext() if last else getattr(self.model, "no_sync", nullcontext)():
                loss = self._loss(batch) * (len(batch["image"]) / samples)
                self.scaler.scale(loss * self.config.loss_scale).backward()
            total += loss.detach()
        self._update()
        return total

    def _is_full(self, batches: Sequence[Batch]) -> bool:
        """Say whether batches are as in all steps of an epoch but its last one, which may have less."""
        sizes = {len(batch["image"]) for batch in batches}
        return len(batches) == self.config.accumulate and sizes == {self.config.batch_size}

    def _forget_capture(self) -> None:
        """Take a new scaler with the numbers of the old one, which has noted where the refused capture was."""
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.scaler.is_enabled())
        if self.scaler.is_enabled():
            scaler.load_state_dict(self.scaler.state_dict())
        self.scaler = scaler
        for name in ("grad_scale", "found_inf"):
            vars(self.optimizer).pop(name, None)

    def _loss(self, batch: Batch) -> Tensor:
        config = self.config
        images, keypoints, visible = (
            batch[name].to(self.device, non_blocking=True) for name in ("image", "keypoints", "visible")
        )
        with autocast(self.device, config.amp):
            stacks = self.model(network_input(images, config.mean, config.std))
        return self.codec.loss(stacks, keypoints, visible)

    def _update(self) -> None:
        if self.config.grad_clip:
            self.scaler.unscale_(self.optimizer)
            limit = self.config.grad_clip * self.config.loss_scale
            nn.utils.clip_grad_norm_(trainable(self.bare), limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged:
            self.averaged.mix(self.bare)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that take part: weights only for loading and saving (requires_grad off) are left alone."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
