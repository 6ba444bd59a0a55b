"""Loading a checkpoint into a model: all or nothing, and with a table of what does not match."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import _checks as checks
from hgfast.checkpoint.file import CheckpointError, read_checkpoint
from hgfast.checkpoint.names import FORMATS
from hgfast.checkpoint.weights import find_weights

__all__ = ["LoadReport", "load_checkpoint", "load_content", "unwrap"]

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_ROWS = 12  # of each kind in a table


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint had for a model; ``str()`` gives a table.

    Attributes:
        path: The file.
        form: "mmpose" (1.x), "mmpose0" (0.x), "princeton" or "unknown"; files of hgfast have the peers' names.
        model: Class of the model.
        loaded: Names of the weights that were loaded.
        missing: Names and shapes of the model's weights that the file lacks.
        unexpected: Names and shapes of the file's weights that the model lacks.
        mismatched: Names of weights that both have, with the model's and the file's shape (and kind of number).
        dropped: Entries of the file that are no weights (normalisation), or are those of averages kept beside.
    """

    path: str
    form: str
    model: str
    loaded: tuple[str, ...]
    missing: dict[str, str]
    unexpected: dict[str, str]
    mismatched: dict[str, tuple[str, str]]
    dropped: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether file and model have exactly the same weights."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        title = FORMATS[self.form].title if self.form in FORMATS else "unknown"
        head = (
            f"{self.path} (names of {title}) and {self.model}: {len(self.loaded)} weights match, "
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected, {len(self.mismatched)} of another shape"
        )
        rows = _rows("missing", {name: (shape, "-") for name, shape in self.missing.items()})
        rows += _rows("unexpected", {name: ("-", shape) for name, shape in self.unexpected.items()})
        rows += _rows("shape", self.mismatched)
        if not rows:
            return head
        width = max(len(row[1]) for row in rows)
        columns = [("", "weight", "model", "file"), *rows]
        return "\n".join([head, *(f"  {a:<10}  {b:<{width}}  {c:<20}  {d}".rstrip() for a, b, c, d in columns)])


def _rows(kind: str, entries: dict[str, tuple[str, str]]) -> list[tuple[str, str, str, str]]:
    rows = [(kind, name, *shapes) for name, shapes in list(entries.items())[:_ROWS]]
    if len(entries) > _ROWS:
        rows.append((kind, f"... and {len(entries) - _ROWS} more", "", ""))
    return rows


def load_checkpoint(model: nn.Module, path: str | Path, strict: bool = True, *, check_hash: bool = True) -> LoadReport:
    """Load the weights of a checkpoint of hgfast, MMPose (0.x or 1.x) or princeton-vl into a model.

    The names are brought to those of the model: whatever stands in front of them in the file (``module.``,
    ``model.module.``, ``student.``, ...) is stripped, or put there (a backbone alone); MMPose 0.x's ``keypoint_head``
    becomes ``head``, and ``head.final_layer`` the last of CPMHead's; ``data_preprocessor.*`` and averages kept beside
    the weights are left out. Of a file's sections the one with the most of the model's names is read. Nothing in the
    file is executed. The model is changed only if all goes well; its dtype, device and layout stay.

    Args:
        model: Model to load into; DataParallel, DDP and compiled models are looked through.
        path: File to read.
        strict: Whether every weight must match. If False, what matches by name and shape is loaded (at least one
            weight must) and the report tells the rest.
        check_hash: Whether to compare the file with the digits of a SHA-256 in its name, where there are any.

    Returns:
        What matched and what did not.

    Raises:
        TypeError: If model is not a module, path no path, strict or check_hash no bool.
        ValueError: If the model's weights are on the meta device, or were made in inference mode and this is none.
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read, or does not match; the message then has a table.
    """
    checks.instance("load_checkpoint", "model", model, nn.Module)
    path = checks.path("load_checkpoint", "path", path)
    strict = checks.flag("load_checkpoint", "strict", strict)
    checks.flag("load_checkpoint", "check_hash", check_hash)
    _check_target(_target(model))
    return load_content(model, read_checkpoint(path, check_hash), path, strict)


def load_content(model: nn.Module, content: Any, path: str | Path, strict: bool = True) -> LoadReport:
    """:func:`load_checkpoint` of a file that :func:`read_checkpoint` has read; path is what messages call it."""
    model, target = unwrap(model), _target(model)
    weights = find_weights(content, str(path), target)
    report = _compare(model, target, weights.tensors, str(path), weights.form, weights.dropped)
    if not report.loaded or (strict and not report.complete):
        raise CheckpointError(str(report) + _hint(report))
    model.load_state_dict({name: weights.tensors[name] for name in report.loaded}, strict=False)
    return report


def _target(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in unwrap(model).state_dict().items() if isinstance(value, Tensor)}


def _check_target(target: dict[str, Tensor]) -> None:
    for name, value in target.items():
        if value.device.type == "meta":
            raise ValueError(f"load_checkpoint: model must have memory for its weights, {name} is on the meta device")
        if value.is_inference() and not torch.is_inference_mode_enabled():
            raise ValueError(f"load_checkpoint: model must not be built in inference mode, {name} was")


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DataParallel, DDP and torch.compile."""
    while True:
        inner = model.module if isinstance(model, _PARALLEL) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _compare(
    model: nn.Module,
    target: dict[str, Tensor],
    tensors: dict[str, Tensor],
    path: str,
    form: str,
    dropped: tuple[str, ...],
) -> LoadReport:
    shared = [name for name in target if name in tensors]
    differing = {name: (describe_weight(target[name]), describe_weight(tensors[name])) for name in shared}
    mismatched = {name: pair for name, pair in differing.items() if pair[0] != pair[1]}
    # Files of very old PyTorch versions lack the counters; no computation of these models needs them.
    counted = (name for name in target if name not in tensors and not name.endswith(".num_batches_tracked"))
    return LoadReport(
        path=path,
        form=form,
        model=type(model).__name__,
        loaded=tuple(name for name in shared if name not in mismatched),
        missing={name: describe_weight(target[name]) for name in counted},
        unexpected={name: describe_weight(value) for name, value in tensors.items() if name not in target},
        mismatched=mismatched,
        dropped=dropped,
    )


def describe_weight(tensor: Tensor) -> str:
    """Say a weight's shape, and what else it must share with one that it may become: layout, kind of number."""
    if tensor.is_nested:
        return "nested"
    notes = [] if _is_real(tensor) else [str(tensor.dtype)]
    notes += [] if tensor.layout == torch.strided else [str(tensor.layout)]
    notes += ["meta"] if tensor.device.type == "meta" else []
    return " ".join([str(tuple(tensor.shape)), *(note.removeprefix("torch.") for note in notes)])


def _is_real(tensor: Tensor) -> bool:
    """Whether it holds floating point numbers that can be converted into each other."""
    return tensor.is_floating_point() and ("float8" in str(tensor.dtype) or tensor.dtype in checks.FLOATING)


def _hint(report: LoadReport) -> str:
    """Advice on the usual mistakes."""
    if not report.loaded and not report.mismatched:
        return (
            "\nNo name of the file is one of the model's: it is for another network. hourglass52/104 load MMPose's "
            "files, hg1/2/8 princeton-vl's."
        )
    if not report.loaded:
        return "\nThe names are the model's, the shapes are not: it is for a network of other widths."
    same_names = not (report.missing or report.unexpected)
    if same_names and all(".multi_final_layers." in n or n.startswith("outs.") for n in report.mismatched):
        return "\nOnly the number of keypoints differs: strict=False loads all but the last layers."
    parts = sorted({name.partition(".")[0] for name in report.missing})
    if not (report.unexpected or report.mismatched):
        return f"\nAll of the file is the model's, but it lacks weights of {', '.join(parts)}: strict=False loads it."
    return "\nstrict=False loads what matches."
