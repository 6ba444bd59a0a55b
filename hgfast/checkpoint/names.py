"""The forms of checkpoints: where the weights are in a file, and how they are named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hgfast.checkpoint.file import CheckpointError

__all__ = ["FORMATS", "Weights", "find_weights"]

# Entries of a checkpoint that may hold the weights, in the order in which they are tried. mmengine and mmcv write the
# averaged weights into `state_dict` where they train with an exponential moving average.
_SECTIONS = ("state_dict", "model_state_dict", "model", "ema_state_dict", "state_dict_ema")
# Put in front by DataParallel and DDP, by princeton-vl's Trainer, by torch.compile.
_WRAPPERS = ("module.", "model.", "_orig_mod.")
# Not weights: MMPose's normalisation, the averages that mmcv keeps as buffers, the counters of averaged models.
_DROPPED = ("data_preprocessor.", "ema_", "n_averaged", "steps")


@dataclass(frozen=True)
class Form:
    """A form of checkpoint.

    Attributes:
        title: What to call it in a message.
        family: First name of a weight of the networks it is for; None for any network.
        renames: Start of a name of hgfast's, and what it is in this form.
        prefix: Put in front of every name.
    """

    title: str
    family: str | None
    renames: tuple[tuple[str, str], ...] = ()
    prefix: str = ""

    def rename(self, name: str) -> str:
        """Turn a name of hgfast's into one of this form."""
        for ours, theirs in self.renames:
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        return self.prefix + name


FORMATS = {
    "hgfast": Form("hgfast", None),
    "mmpose": Form("MMPose 1.x", "backbone."),
    "mmpose0": Form("MMPose 0.x", "backbone.", renames=(("head.", "keypoint_head."),)),
    "princeton": Form("princeton-vl", "pre.", prefix="model.module."),
}


@dataclass
class Weights:
    """The weights of a file under hgfast's names.

    Attributes:
        tensors: Weights by name.
        form: Key of :data:`FORMATS`, or "unknown".
        dropped: Entries of the file that are no weights.
    """

    tensors: dict[str, Tensor]
    form: str
    dropped: tuple[str, ...]


def find_weights(content: Any, source: str, wanted: Collection[str] = ()) -> Weights:
    """Find the weights in what a file holds and give them hgfast's names.

    Args:
        content: A state dict, or a checkpoint around one.
        source: What to call the file in a message.
        wanted: Names of the model; an entry that has one of these keeps it.

    Raises:
        CheckpointError: If there are no weights, or two of one name.
    """
    state = _state_dict(content, source)
    tensors: dict[str, Tensor] = {}
    dropped = []
    for name, value in state.items():
        ours = name if name in wanted else _our_name(name)
        if ours not in wanted and (ours.startswith(_DROPPED) or not isinstance(value, Tensor)):
            dropped.append(name)
        elif ours in tensors:
            raise CheckpointError(f"{source}: holds two entries for {ours}, the second is {name}")
        elif not isinstance(value, Tensor):
            raise CheckpointError(f"{source}: {name} must be a tensor, got {type(value).__name__}")
        else:
            tensors[ours] = value
    return Weights(tensors, _form(state), tuple(dropped))


def _state_dict(content: Any, source: str) -> Mapping[str, Any]:
    if isinstance(content, Mapping):
        for candidate in (*(content.get(section) for section in _SECTIONS), content):
            if isinstance(candidate, Mapping) and any(isinstance(value, Tensor) for value in candidate.values()):
                return {name: value for name, value in candidate.items() if isinstance(name, str)}
    found = f"keys {list(content)[:8]}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
    raise CheckpointError(f"{source}: holds no weights; expected a state dict or one of {_SECTIONS}, got {found}")


def _our_name(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    for form in FORMATS.values():
        for ours, theirs in form.renames:
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
    return name


def _form(state: Mapping[str, Any]) -> str:
    bare = [name.removeprefix("module.") for name in state]
    if any(name.startswith("keypoint_head.") for name in bare):
        return "mmpose0"
    if any(name.startswith("model.module.") for name in state):
        return "princeton"
    families = {form.family: key for key, form in FORMATS.items() if form.family and not form.renames}
    return next((key for family, key in families.items() if any(n.startswith(family) for n in bare)), "unknown")
