"""Reading a checkpoint file, which must be the one that its name says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from hgfast import _checks as checks
from hgfast._extras import require
from hgfast.checkpoint.archive import CheckpointError, read_archive

__all__ = ["CheckpointError", "read_checkpoint"]

# `name-<first digits of the SHA-256>_<date>.pth`, as MMPose names the files it publishes. Without the date such digits
# are as often a step or a commit.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})_20\d{6}(?=[._-]|$)")


def read_checkpoint(path: str | Path, check_hash: bool = True) -> Any:
    """Return what a file of ``torch.save`` holds, tensors on the CPU; of one of safetensors its tensors.

    Only tensors and plain data are read (``weights_only``); any other object is replaced by an inert stand-in.
    What the file unpacks to is bounded by its size, and the check sums of its records must be right.

    Args:
        path: File to read.
        check_hash: Whether to compare the file with the digits of a SHA-256 in its name, where it is named as
            MMPose names what it publishes: ``hourglass52_mpii_256x256-ae358435_20200812.pth``.

    Raises:
        TypeError: If an argument has the wrong type.
        FileNotFoundError: If there is no such file.
        ImportError: If the name ends in ".safetensors", and safetensors is not installed.
        CheckpointError: If the file is damaged, is no checkpoint, or is not the one that its name says.
    """
    path = checks.path("read_checkpoint", "path", path)
    if checks.flag("read_checkpoint", "check_hash", check_hash) and path.is_file():
        _check_hash(path)
    return {"state_dict": _read_safetensors(path)} if path.suffix == ".safetensors" else read_archive(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    library = require("safetensors.torch", f"{path}", "hub")
    try:
        return library.load_file(path)
    except Exception as error:  # safetensors raises its own kind, and others for what is no file
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error


def _check_hash(path: Path) -> None:
    found = _HASH_IN_NAME.findall(path.name)
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
