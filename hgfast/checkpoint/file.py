"""Reading a checkpoint file without running anything that is in it."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

import torch

__all__ = ["CheckpointError", "read_checkpoint"]

# `name-<first digits of the SHA-256>[_<date>].pth`, as MMPose and torch.hub name the files they publish.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})(?=[._]|$)")
_DATE = re.compile(r"20\d{6}")
_REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global")


class CheckpointError(RuntimeError, ValueError):
    """A checkpoint file that cannot be read, or that does not fit the model.

    It is a RuntimeError, as ``load_state_dict`` raises, and a ValueError.
    """


class Placeholder:
    """What an object of an unknown class becomes: nothing. Neither the class nor any code of the file is touched.

    MMPose's files carry such objects beside the weights (numpy arrays, mmengine's log buffers, configurations).
    """

    def __new__(cls, *args: object, **kwargs: object) -> Placeholder:
        """Take and forget any arguments."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Forget the state."""

    def __setitem__(self, key: object, value: object) -> None:
        """Forget the item."""


def read_checkpoint(path: str | Path, check_hash: bool = True) -> Any:
    """Return what a file of ``torch.save`` holds, tensors on the CPU.

    Only tensors and plain data are read (``weights_only``); any other object is replaced by an inert placeholder.

    Args:
        path: File to read.
        check_hash: Whether to compare the file with the digits of a SHA-256 in its name, where there are any, as in
            ``hourglass52_mpii_256x256-ae358435_20200812.pth``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged, is no checkpoint, or is not the one that its name says.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    if not path.is_file():
        raise CheckpointError(f"{path}: not a file")
    if check_hash:
        _check_hash(path)
    placeholders: set[str] = set()
    while True:
        try:
            with torch.serialization.safe_globals([(Placeholder, name) for name in placeholders]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # what torch raises for a damaged file depends on where the damage is
            refused = _REFUSED.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
            if refused is None or refused[1] in placeholders:
                raise CheckpointError(f"{path}: not a readable checkpoint ({_first_line(error)})") from error
            # torch leaves "builtins." out of its message
            placeholders |= {refused[1]} if "." in refused[1] else {refused[1], f"builtins.{refused[1]}"}


def _first_line(error: Exception) -> str:
    """What went wrong, in one line: torch puts a page of advice around the unpickler's own error."""
    cause = error.__context__ if isinstance(error, pickle.UnpicklingError) and error.__context__ else error
    text = str(cause).strip()
    return f"{type(cause).__name__}: {text.splitlines()[0]}" if text else type(cause).__name__


def _check_hash(path: Path) -> None:
    found = [digits for digits in _HASH_IN_NAME.findall(path.name) if not _DATE.fullmatch(digits)]
    if not found:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    actual = digest.hexdigest()
    if not actual.startswith(found[-1]):
        raise CheckpointError(
            f"{path}: the file is damaged or another one: its SHA-256 starts with {actual[: len(found[-1])]}, "
            f"its name says {found[-1]} (check_hash=False loads it all the same)"
        )
