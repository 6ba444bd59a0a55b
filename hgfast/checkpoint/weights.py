"""The weights in what a checkpoint file holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hgfast.checkpoint.archive import CheckpointError
from hgfast.checkpoint.names import Naming, form_of
from hgfast.checkpoint.objects import StandIn, as_tensor

__all__ = ["Weights", "find_weights"]

# Entries of a checkpoint that may hold the weights, in the order in which they are taken where several do. mmengine and
# mmcv write the averaged weights into `state_dict` where they train with an exponential moving average.
_SECTIONS = ("state_dict", "model_state_dict", "model", "ema_state_dict", "state_dict_ema")
_NESTED = 4  # sections inside each other
# Not weights: MMPose's normalisation, the averages that mmcv keeps as buffers, the counters of averaged models.
_DROPPED = ("data_preprocessor.", "ema_", "n_averaged", "steps")
_MORE_BYTES = 64 << 20


@dataclass
class Weights:
    """The weights of a file under hgfast's names.

    Attributes:
        tensors: Weights by name.
        form: Key of :data:`FORMATS`, or "unknown".
        dropped: Entries of the file that are no weights, or those of a copy.
    """

    tensors: dict[str, Tensor]
    form: str
    dropped: tuple[str, ...]


def find_weights(content: Any, source: str, wanted: Collection[str] = ()) -> Weights:
    """Find the weights in what a file holds and give them hgfast's names.

    Taken is the section, and in it the prefix, with the most names of the network.

    Args:
        content: A state dict, or a checkpoint around one.
        source: What to call the file in a message.
        wanted: Names of the model; an entry that has one of these keeps it.

    Raises:
        CheckpointError: If there are no weights, or two of one name.
    """
    namings = [(Naming(state, wanted), state) for state in _state_dicts(content, source)]
    naming, state = max(namings, key=lambda pair: pair[0].matches)
    try:
        naming.choose()
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None
    tensors: dict[str, Tensor] = {}
    dropped = []
    for name, value in state.items():
        ours = naming.rename(name)
        extra = ours.startswith(_DROPPED) or not isinstance(value, Tensor) or naming.is_copy(name)
        if ours not in wanted and extra:
            dropped.append(name)
        elif ours in tensors:
            raise CheckpointError(f"{source}: holds two entries for {ours}, the second is {name}")
        elif not isinstance(value, Tensor):
            what = value.name if isinstance(value, StandIn) else type(value).__name__
            raise CheckpointError(f"{source}: {name} must be a tensor, got {what}")
        else:
            tensors[ours] = value
    _check_bytes(tensors, source)
    return Weights(tensors, form_of(state), tuple(dropped))


def _state_dicts(content: Any, source: str) -> Iterator[dict[str, Any]]:
    """Yield what may be the state dict, the likeliest first.

    Raises:
        CheckpointError: If nothing may be.
    """
    found = False
    for candidate in _mappings(content):
        state = {name: as_tensor(value) for name, value in candidate.items() if isinstance(name, str)}
        if any(isinstance(value, Tensor) for value in state.values()):
            found = True
            yield state
    if found:
        return
    objects = [content, *content.values()] if isinstance(content, Mapping) else [content]
    for item in objects:
        if isinstance(item, StandIn):
            raise CheckpointError(
                f"{source}: holds a whole object of class {item.name}, which only that class's code can read; "
                "save its state_dict() instead"
            )
    what = f"keys {[str(key)[:40] for key in list(content)[:8]]}" if isinstance(content, Mapping) else None
    raise CheckpointError(
        f"{source}: holds no weights; expected a state dict or one of {_SECTIONS}, "
        f"got {what or f'a {type(content).__name__}'}"
    )


def _mappings(content: Any) -> Iterator[Mapping[Any, Any]]:
    """Yield the mappings in a file: known sections, the whole, other sections, those inside them."""
    if not isinstance(content, Mapping):
        return
    sections = [content[name] for name in _SECTIONS if name in content]
    others = [value for name, value in content.items() if name not in _SECTIONS]
    level, seen = [*sections, content, *others], set[int]()
    for _ in range(_NESTED):
        fresh = {id(one): one for one in level if isinstance(one, Mapping) and id(one) not in seen}
        yield from fresh.values()
        seen.update(fresh)
        level = [value for one in fresh.values() for value in one.values()]


def _check_bytes(tensors: dict[str, Tensor], source: str) -> None:
    """Refuse a few numbers that stand for many (stride 0): no weights need them, and memory could run out."""
    dense = [one for one in tensors.values() if one.layout == torch.strided and not one.is_nested]
    storages = {one.untyped_storage()._cdata: one.untyped_storage().nbytes() for one in dense}
    size = sum(one.numel() * one.element_size() for one in dense)
    if size > 4 * sum(storages.values()) + _MORE_BYTES:
        raise CheckpointError(f"{source}: its weights are {size} bytes, of which it holds {sum(storages.values())}")
