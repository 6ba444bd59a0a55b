"""The state of a training run: everything needed to go on as if it had never stopped."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import __version__, _checks
from hgfast._errors import TrainingError
from hgfast.checkpoint import CheckpointError, read_checkpoint
from hgfast.files import atomic_write
from hgfast.train import rates
from hgfast.train.config import Config, ConfigError, apply, to_dict
from hgfast.train.parallel import World
from hgfast.train.schedule import learning_rate
from hgfast.train.state_checks import PARTS, as_checkpoint_error, check_like, check_optimizer, check_parts, check_scaler
from hgfast.train.step import TrainingStep

_PATHS = (
    "train_annotations",
    "train_images",
    "val_annotations",
    "val_images",
    "test_annotations",
    "test_images",
    "split",
    "val_head_boxes",
    "val_detections",
)


@dataclass
class Position:
    """Where a run is: ``batch`` batches into ``epoch``, after ``step`` steps in all, and what it has seen so far."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best: float | None = None
    best_epoch: int = -1


def diverged(reason: str, config: Config, position: Position, last: Path) -> TrainingError:
    """Make the error that ends a run whose numbers are not finite; last: the file of its state, if it is there."""
    rate = learning_rate(config, position.step, position.epoch)
    kept = f"the last good checkpoint is {last}" if last.exists() else "there is no checkpoint yet"
    return TrainingError(
        f"{reason} at step {position.step}, epoch {position.epoch + 1} (learning rate {rate:.3g}); {kept}. "
        "A lower lr, a longer warm-up or amp=bf16 instead of fp16 may help."
    )


def checkpoint_meta(config: Config, metrics: dict[str, float]) -> dict[str, Any]:
    """Return what is stored beside weights, so that a file alone suffices to rebuild its network."""
    return {"hgfast": __version__, "config": to_dict(config), "metrics": metrics, "folder": _working_folder()}


def _working_folder() -> str:
    try:
        return os.getcwd().encode(errors="replace").decode()
    except OSError:  # it has been removed
        return ""


def stored_config(content: Any, path: str | Path) -> Config:
    """Read the configuration that a checkpoint of hgfast was trained with; raises ConfigError for other files.

    Its relative paths hold where training was started and, if nothing is there from here, lead there.
    """
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict) or not isinstance(meta.get("config"), dict):
        raise ConfigError(f"{path}: holds no configuration of hgfast; give a preset (--preset) for its network")
    try:
        config = apply(Config(), meta["config"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return apply(config, _paths_from(meta.get("folder"), config))


def _paths_from(folder: Any, config: Config) -> dict[str, str]:
    """Relative paths that lead nowhere from here, from the folder where training was started if they do there."""
    if not isinstance(folder, str) or "\0" in folder:
        return {}
    paths = {name: getattr(config, name) for name in _PATHS if getattr(config, name)}
    there = {name: os.path.join(folder, path) for name, path in paths.items() if not os.path.exists(path)}
    return {name: path for name, path in there.items() if os.path.exists(path)}


def save_state(path: Path, meta: dict[str, Any], step: TrainingStep, position: Position, ranks: Tensor) -> None:
    """Write everything that changes while training, as a whole or not at all; ``ranks`` are all :func:`own_values`."""
    content = {
        "meta": meta,
        "state_dict": step.bare.state_dict(),
        "averaged": step.averaged.model.state_dict() if step.averaged else None,
        "optimizer": rates.state_of(step.optimizer),
        "scaler": step.scaler.state_dict(),
        "position": asdict(position),
        "ranks": ranks,
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with atomic_write(path) as file:
        torch.save(content, file)


def read_state(path: Path) -> dict[str, Any]:
    """Content of a file of :func:`save_state`.

    Raises:
        CheckpointError, ConfigError: another file, or a damaged one: the message has file and field.
    """
    content = read_checkpoint(path)
    missing = sorted(PARTS - content.keys()) if isinstance(content, dict) else ["all"]
    if missing:
        raise CheckpointError(f"{path}: holds no state of a training run to go on from: {', '.join(missing)} missing")
    with as_checkpoint_error():
        check_parts(str(path), content, Position)
    stored_config(content, path)
    return content


def own_values(models: Sequence[nn.Module], position: Position) -> Tensor:
    """Return what each process has of its own within an epoch: BatchNorm statistics, sum of losses; float64 (M,)."""
    values = [buffer.detach().double().flatten() for buffer in _statistics(models)]
    return torch.cat([*values, values[0].new_tensor([position.loss_sum])])


def _put_own_values(values: Tensor, models: Sequence[nn.Module], position: Position) -> None:
    *parts, loss_sum = values.split([*(buffer.numel() for buffer in _statistics(models)), 1])
    for buffer, part in zip(_statistics(models), parts, strict=True):
        buffer.copy_(part.view_as(buffer))
    position.loss_sum = float(loss_sum)


def _statistics(models: Sequence[nn.Module]) -> list[Tensor]:
    return [buffer for model in models for buffer in model.buffers() if buffer.is_floating_point()]


def restore(content: dict[str, Any], path: Path, step: TrainingStep, world: World) -> Position:
    """Put back what :func:`save_state` wrote and :func:`read_state` has read from ``path``.

    With another number of processes than before all go on with the values of the first. A run that begins to average
    its weights only now averages from here on.

    Raises:
        ConfigError: the network is another one.
        CheckpointError: the file is damaged.
    """
    where, averaged, position = str(path), content["averaged"], Position(**content["position"])
    ranks, same_values = content["ranks"], (averaged is None) == (step.averaged is None)
    with as_checkpoint_error():
        _check_weights(where, "state_dict", content, step)
        if averaged is not None:
            _check_weights(where, "averaged", content, step)
        optimizer = check_optimizer(where, content["optimizer"], step.optimizer)
        if content["scaler"] and step.scaler.is_enabled():
            step.scaler.load_state_dict(check_scaler(where, content["scaler"], step.scaler.state_dict()))
        if same_values:
            _checks.shape(where, "ranks", content["ranks"], (len(ranks), len(own_values(step.models, position))))
    step.bare.load_state_dict(content["state_dict"])
    step.load_optimizer(optimizer)
    if step.averaged:
        step.averaged.model.load_state_dict(averaged or content["state_dict"])
    try:
        torch.set_rng_state(content["rng"])
        if torch.cuda.is_available() and len(content["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(content["cuda_rng"])
    except RuntimeError as error:
        raise CheckpointError(f"{path}: rng holds no state of random numbers ({error})") from None
    if same_values and len(ranks) == world.size:
        _put_own_values(ranks[world.rank], step.models, position)
    return position


def _check_weights(where: str, name: str, content: dict[str, Any], step: TrainingStep) -> None:
    own, stored = step.bare.state_dict(), content[name]
    different = [f"{key} is missing there" for key in own if key not in stored]
    different += [f"{key!r} is unknown here" for key in stored if key not in own]
    for key in own.keys() & stored.keys():
        _checks.tensor(where, f"{name}[{key!r}]", stored[key], dtypes=(own[key].dtype,))
    different += [
        f"{key} is {tuple(stored[key].shape)} there and {tuple(own[key].shape)} here"
        for key in own
        if key in stored and stored[key].shape != own[key].shape
    ]
    if different:
        changed = differences(stored_config(content, where), step.config, ("model", "keypoints"))
        settings = f" ({', '.join(changed)})" if changed else ""
        more = f", and {len(different) - 1} more" if len(different) > 1 else ""
        raise ConfigError(
            f"{where}: {name}: the run to be resumed has another network than these settings{settings}: "
            f"{different[0]}{more}"
        )
    for key, like in own.items():
        check_like(where, f"{name}[{key!r}]", stored[key], like)


def differences(old: Config, config: Config, names: tuple[str, ...] = ("",)) -> list[str]:
    """Return the settings that differ from a stored configuration, as "lr 0.0005 -> 0.001"; only those begun so."""
    before, now = _flat(to_dict(old)), _flat(to_dict(config))
    return [
        f"{name} {reprlib.repr(before.get(name))} -> {reprlib.repr(now.get(name))}"
        for name in dict.fromkeys([*before, *now])
        if name != "output" and before.get(name) != now.get(name) and name.startswith(names)
    ]


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    return {name: value for name, value in settings.items() if name not in tables} | {
        f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()
    }
