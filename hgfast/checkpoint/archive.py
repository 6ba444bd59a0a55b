"""Reading a file of ``torch.save`` without running anything that is in it, and within bounds.

torch's own reader takes only tensors and plain data (``weights_only``). Before it sees a file this one is looked
through: it must not unpack to much more than its size, the check sums of its records must be right (torch does not
look at them), and the classes it names are counted, as torch reads a file again for each unknown one.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import torch

from hgfast.checkpoint.objects import stand_in_for

MOST_INSTRUCTIONS = 2_000_000  # of the pickle: torch takes about a microsecond for each
MOST_WORK = 5_000_000  # calls in the pickle times unknown classes: torch lists these at each call
_LEGACY_PICKLES = 5  # magic number, protocol, system, content, names of the storages
_UNPACKED, _UNPACKED_MORE = 4, 16 << 20  # a file may unpack to so many times its size, and so many bytes more


class CheckpointError(RuntimeError, ValueError):
    """A checkpoint file that cannot be read, or that does not fit the model.

    It is a RuntimeError, as ``load_state_dict`` raises, and a ValueError.
    """


def read_archive(path: Path, what: str = "checkpoint", mapped: bool = False) -> Any:
    """Return what a file of ``torch.save`` holds, tensors on the CPU; objects of other classes become stand-ins.

    Args:
        path: File to read.
        what: What it should be, for the messages.
        mapped: Whether tensors are to be pages of the file, mapped privately, which are read when they are touched.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is something else, damaged, or larger unpacked than it may be.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such {what}")
    if not path.is_file():
        raise CheckpointError(f"{path}: not a file")
    try:
        with path.open("rb") as file:
            stand_ins: list[Any] = [
                (stand_in_for(name), name) for name in sorted(_classes(file) - _allowed_by_the_user())
            ]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # what is raised for a damaged file depends on where the damage is
        raise CheckpointError(f"{path}: not a readable {what} ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    """Say what went wrong, in one line: torch puts a page of advice around the unpickler's own error."""
    cause = error.__context__ if isinstance(error, pickle.UnpicklingError) and error.__context__ else error
    text = str(cause).strip()
    return f"{type(cause).__name__}: {text.splitlines()[0]}"[:300] if text else type(cause).__name__


def _allowed_by_the_user() -> set[str]:
    """Return the names of what `torch.serialization.add_safe_globals` was told."""
    allowed: list[Any] = torch.serialization.get_safe_globals()
    return {one[1] if isinstance(one, tuple) else f"{one.__module__}.{one.__qualname__}" for one in allowed}


def _classes(file: BinaryIO) -> set[str]:
    """Full names of all classes and functions that a file names.

    Raises:
        ValueError: It is no file of torch.save, is damaged, or asks for too much.
    """
    if file.read(4) == b"PK\3\4":
        with closing(zipfile.ZipFile(file)) as archive:
            records = _checked_records(archive, os.fstat(file.fileno()).st_size)
            return _named(pickletools.genops(archive.read(records["data.pkl"])))
    file.seek(0)
    names: set[str] = set()
    for _ in range(_LEGACY_PICKLES):
        names |= _named(pickletools.genops(file))
    return names


def _checked_records(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the records by their names inside the archive's folder; `size`: of the file.

    Raises:
        ValueError: One is damaged or there twice, they unpack to too much, or they are no checkpoint's.
    """
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > _UNPACKED * size + _UNPACKED_MORE:
        raise ValueError(f"its {size} bytes unpack to {unpacked}")
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise ValueError("it holds two records of one name")
    records = {entry.filename.partition("/")[2]: entry for entry in entries}
    if "constants.pkl" in records:
        raise ValueError("it is a TorchScript program, which is code; save its state_dict() by torch.save")
    if "data.pkl" not in records:
        raise ValueError("it is a zip file, but not one of torch.save")
    for entry in entries:
        if not entry.CRC:  # what torch writes where it was told to make no check sums
            del entry.CRC  # zipfile then compares none
            continue
        with archive.open(entry) as record:
            while record.read(1 << 20):  # zipfile compares at the end
                pass
    return records


def _named(instructions: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> set[str]:
    """Full names of the classes and functions in a pickle.

    Raises:
        ValueError: It is no pickle, or too long.
    """
    names: set[str] = set()
    calls = 0
    for count, (opcode, argument, _) in enumerate(instructions):
        if count > MOST_INSTRUCTIONS:
            raise ValueError(f"it has more than {MOST_INSTRUCTIONS} instructions")
        if opcode.name == "GLOBAL":
            names.add(".".join(_renamed(*argument.split(" ", 1))))
        calls += opcode.name in ("GLOBAL", "REDUCE", "NEWOBJ", "BUILD")
        if calls * len(names) > MOST_WORK:
            raise ValueError(f"it names {len(names)} classes, too many for {calls} calls")
    return names


def _renamed(module: str, name: str) -> tuple[str, str]:
    """Return the names of Python 2 in today's form, as torch reads them."""
    return NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
