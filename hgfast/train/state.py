"""The state of a training run: everything needed to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import __version__
from hgfast.checkpoint import CheckpointError, read_checkpoint
from hgfast.files import atomic_write
from hgfast.train.config import Config, ConfigError, apply, to_dict
from hgfast.train.parallel import World
from hgfast.train.step import TrainingStep

_PARTS = {"meta", "state_dict", "optimizer", "scaler", "position", "ranks", "rng", "cuda_rng", "averaged"}


@dataclass
class Position:
    """Where a run is: ``batch`` batches into ``epoch``, after ``step`` steps in all, and what it has seen so far."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best: float | None = None
    best_epoch: int = -1


def checkpoint_meta(config: Config, metrics: dict[str, float]) -> dict[str, Any]:
    """What is stored beside weights, so that a file alone suffices to rebuild its network."""
    return {"hgfast": __version__, "config": to_dict(config), "metrics": metrics}


def stored_config(content: Any, path: str | Path) -> Config:
    """Configuration that a checkpoint of hgfast was trained with; raises ConfigError for other files."""
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict) or not isinstance(meta.get("config"), dict):
        raise ConfigError(f"{path}: holds no configuration of hgfast; give a preset (--preset) for its network")
    return apply(Config(), meta["config"])


def save_state(path: Path, meta: dict[str, Any], step: TrainingStep, position: Position, ranks: Tensor) -> None:
    """Writes everything that changes while training, as a whole or not at all; ``ranks`` are all :func:`own_values`."""
    content = {
        "meta": meta,
        "state_dict": step.bare.state_dict(),
        "averaged": step.averaged.model.state_dict() if step.averaged else None,
        "optimizer": step.optimizer.state_dict(),
        "scaler": step.scaler.state_dict(),
        "position": asdict(position),
        "ranks": ranks,
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with atomic_write(path) as file:
        torch.save(content, file)


def read_state(path: Path) -> dict[str, Any]:
    """Content of a file of :func:`save_state`; raises CheckpointError for other files."""
    content = read_checkpoint(path)
    if not isinstance(content, dict) or not content.keys() >= _PARTS:
        raise CheckpointError(f"{path}: holds no state of a training run to go on from")
    return content


def own_values(models: Sequence[nn.Module], position: Position) -> Tensor:
    """What each process has of its own within an epoch: BatchNorm statistics and the sum of losses, float64 (M,)."""
    values = [buffer.detach().double().flatten() for buffer in _statistics(models)]
    return torch.cat([*values, values[0].new_tensor([position.loss_sum])])


def _put_own_values(values: Tensor, models: Sequence[nn.Module], position: Position) -> None:
    *parts, loss_sum = values.split([*(buffer.numel() for buffer in _statistics(models)), 1])
    for buffer, part in zip(_statistics(models), parts, strict=True):
        buffer.copy_(part.view_as(buffer))
    position.loss_sum = float(loss_sum)


def _statistics(models: Sequence[nn.Module]) -> list[Tensor]:
    return [buffer for model in models for buffer in model.buffers() if buffer.is_floating_point()]


def restore(content: dict[str, Any], step: TrainingStep, world: World) -> Position:
    """Puts back what :func:`save_state` wrote; raises ConfigError when the network is another one.

    With another number of processes than before all go on with the values of the first. A run that begins to average
    its weights only now averages from here on.
    """
    averaged = content["averaged"]
    try:
        step.bare.load_state_dict(content["state_dict"])
        step.optimizer.load_state_dict(content["optimizer"])
        if step.averaged:
            step.averaged.model.load_state_dict(averaged or content["state_dict"])
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"the run to be resumed has another network than these settings ({first})") from None
    step.scaler.load_state_dict(content["scaler"])
    torch.set_rng_state(content["rng"])
    if torch.cuda.is_available() and len(content["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(content["cuda_rng"])
    position = Position(**content["position"])
    if len(content["ranks"]) == world.size and (averaged is None) == (step.averaged is None):
        _put_own_values(content["ranks"][world.rank], step.models, position)
    return position
