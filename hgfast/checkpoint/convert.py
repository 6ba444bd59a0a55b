"""Writing checkpoints in hgfast's form and in the peers'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import _checks as checks
from hgfast.checkpoint.file import CheckpointError, read_checkpoint
from hgfast.checkpoint.load import describe_weight, unwrap
from hgfast.checkpoint.names import FORMATS
from hgfast.checkpoint.weights import find_weights
from hgfast.files import atomic_write

__all__ = ["convert_checkpoint", "save_checkpoint"]

_PEER_STEM = (128, 256)  # widths that MMPose's HourglassNet cannot be built without
SAVED = (*checks.FLOATING, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_BUFFERS = (".running_mean", ".running_var", ".num_batches_tracked")


def save_checkpoint(
    weights: nn.Module | Mapping[str, Tensor],
    path: str | Path,
    form: str = "hgfast",
    meta: dict[str, Any] | None = None,
) -> None:
    """Write weights as a checkpoint, whole or not at all.

    Args:
        weights: A model, or a state dict with hgfast's names.
        path: File to write.
        form: "hgfast" or "mmpose" (MMPose 1.x), both ``{meta, state_dict}``; "mmpose0" (0.x, ``keypoint_head.*``);
            "princeton" (``{state_dict, optimizer, epoch}`` with names ``model.module.*``; the optimizer is a new Adam
            of rate 1e-3, so that princeton-vl's own code can load the file).
        meta: Plain data to store beside the weights, except in princeton-vl's form.

    Raises:
        ValueError: If there is no such form, or it is not for this network (:class:`CheckpointError`): of another
            family, or in MMPose's forms with a stem of other widths than 128 and 256, which its class has fixed.
    """
    checks.instance("save_checkpoint", "weights", weights, nn.Module, Mapping)
    path = checks.path("save_checkpoint", "path", path)
    checks.choice("save_checkpoint", "form", form, sorted(FORMATS))
    if meta is not None:
        checks.instance("save_checkpoint", "meta", meta, dict)
    state = unwrap(weights).state_dict() if isinstance(weights, nn.Module) else weights
    for name in state:
        checks.instance("save_checkpoint", "name of a weight", name, str)
    family = FORMATS[form].family
    if family and not any(name.startswith(family) for name in state):
        groups = sorted({name.partition(".")[0] for name in state})
        raise CheckpointError(f"form {form!r} is for networks with weights {family}*; got {groups}")
    if family == "backbone.":
        _check_stem(state, form)
    for name, value in state.items():
        checks.tensor("save_checkpoint", f"weights[{name!r}]", value, dtypes=SAVED)
        if value.device.type == "meta":
            raise ValueError(f"save_checkpoint: weights[{name!r}] must hold numbers, got a tensor on the meta device")
    # Contiguous copies: a file should not depend on the layout in which a model works.
    plain = {FORMATS[form].rename(name): value.detach().cpu().contiguous() for name, value in state.items()}
    if form == "princeton":
        content = {"state_dict": plain, "optimizer": _new_adam(plain), "epoch": 0}
    else:
        content = {"meta": dict(meta or {}), "state_dict": plain}
    with atomic_write(path) as file:
        torch.save(content, file)


def _check_stem(state: Mapping[str, Tensor], form: str) -> None:
    stem = tuple(state[f"backbone.stem.{name}.weight"].shape[0] for name in ("0.conv", "1.0.conv1"))
    if stem != _PEER_STEM:
        raise CheckpointError(
            f"form {form!r} is for networks with stem_channels {_PEER_STEM}, as MMPose's HourglassNet has them; "
            f"got {stem}"
        )


def _new_adam(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """State of an Adam that has not made a step, over the parameters of princeton-vl's network."""
    count = sum(not name.endswith(_BUFFERS) for name in state)
    return torch.optim.Adam([nn.Parameter(torch.empty(0)) for _ in range(count)], lr=1e-3).state_dict()


def convert_checkpoint(
    source: str | Path, target: str | Path, form: str = "hgfast", *, check_hash: bool = True
) -> None:
    """Read a checkpoint of any known form and write it in another; only the weights are kept.

    Args:
        source: File to read.
        target: File to write.
        form: See :func:`save_checkpoint`.
        check_hash: See :func:`hgfast.load_checkpoint`.

    Raises:
        TypeError, ValueError: If an argument is of the wrong type, or there is no such form.
        FileNotFoundError: If there is no source.
        CheckpointError: If it cannot be read, or the form is not for its network.
    """
    source = checks.path("convert_checkpoint", "source", source)
    checks.path("convert_checkpoint", "target", target)
    checks.choice("convert_checkpoint", "form", form, sorted(FORMATS))
    weights = find_weights(read_checkpoint(source, check_hash), str(source)).tensors
    for name, value in weights.items():
        if value.layout != torch.strided or value.device.type == "meta" or value.dtype not in SAVED:
            raise CheckpointError(
                f"{source}: {name} must be a dense tensor of real numbers, got {describe_weight(value)}"
            )
    save_checkpoint(weights, target, form)
