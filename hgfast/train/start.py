"""A run that begins with the weights of a checkpoint."""

from __future__ import annotations

from typing import Any

from hgfast import _checks
from hgfast.checkpoint import CheckpointError, read_checkpoint
from hgfast.checkpoint.load import LoadReport, load_content
from hgfast.models.common import PoseNetwork
from hgfast.train.config import Config
from hgfast.train.state import differences, stored_config

_INPUTS = ("mean", "std", "codec", "sigma")  # settings that weights are used to


def load_weights(config: Config, model: PoseNetwork) -> list[str]:
    """Put the weights of the file ``config.weights`` into a network, to be trained further.

    All of the backbone must be in the file. The layers that have a channel for each keypoint keep their new weights
    where the file has others of another number of keypoints, none, or those of other keypoints.

    Args:
        config: of the run.
        model: made with it.

    Returns:
        lines for the user: what was loaded, what starts anew, and settings of the file that are others here.

    Raises:
        TypeError: arguments of another type.
        FileNotFoundError: no such file.
        CheckpointError: the file cannot be read, or is for another network; the message then has a table.
    """
    _checks.instance("load_weights", "config", config, Config)
    _checks.instance("load_weights", "model", model, PoseNetwork)
    path = config.weights
    content = read_checkpoint(path)
    heads = {name: value.clone() for name, value in model.state_dict().items() if name.startswith(model.head_layers)}
    report = load_content(model, content, path, strict=False)
    wrong = [name for name in _different(report) if not name.startswith(model.head_layers)]
    if wrong:
        raise CheckpointError(str(report))
    stored = _config_of(content, path)
    fresh, why = _new_heads(report, stored, config, heads)
    if fresh:
        model.load_state_dict(heads, strict=False)
    loaded = len(report.loaded) - (len(heads.keys() & set(report.loaded)) if fresh else 0)
    lines = [f"{path}: {loaded} weights loaded" + (f"; the last layers start anew: {why}" if fresh else "")]
    if stored is not None and (changed := differences(stored, config, _INPUTS)):
        lines.append(f"{path} was trained with other settings of the input: {', '.join(changed)}")
    return lines


def _different(report: LoadReport) -> list[str]:
    return [*report.missing, *report.unexpected, *report.mismatched]


def _config_of(content: Any, path: str) -> Config | None:
    """Return the configuration in a file of hgfast; None for others, and for weights written without one."""
    try:
        return stored_config(content, path)
    except ValueError:
        return None


def _new_heads(report: LoadReport, stored: Config | None, config: Config, heads: dict[str, Any]) -> tuple[bool, str]:
    """Whether the last layers keep their new weights, and why."""
    counts = next((sizes for name, sizes in report.mismatched.items() if name.endswith("bias")), None)
    if counts is not None:
        return True, f"{counts[1].strip('(,)')} keypoints in the file, {config.table.count} here"
    if _different(report):
        return True, "they are not in the file"
    if stored is not None and stored.table.names != config.table.names:
        return True, f"the file's are for other keypoints ({stored.table.name})"
    return False, ""
