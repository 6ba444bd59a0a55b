"""DeepLabCut's own split of a project's pictures: ``Documentation_data-*.pickle`` in its ``training-datasets``.

The file is a pickled list of four: entries of the pictures trained on, the rows of the training and of the test
pictures in the merged table beside it (``CollectedData_*``; -1 fills the training rows up), and the share. A pickle is
a program. Of this one nothing is looked up and nothing is called: whatever it names is replaced by an inert stand-in,
of which numpy's arrays keep their bytes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from hgfast import _checks
from hgfast.checkpoint.objects import StandIn, as_tensor, stand_in_for
from hgfast.data.deeplabcut import read_table
from hgfast.data.fields import AnnotationError
from hgfast.data.person import Person
from hgfast.data.split import ends_of, split_by_shares

ENDING = ".pickle"
_MEMO = ("BINPUT", "LONG_BINPUT", "PUT")
_BROKEN = (
    pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    RecursionError, MemoryError,
)  # fmt: skip


def split_by_deeplabcut(persons: Sequence[Person], path: str | Path, val: float, seed: int) -> dict[str, list[Person]]:
    """Split as DeepLabCut does: its test pictures, and of its training pictures a share to validate with.

    DeepLabCut has no third part. Its test pictures stay what they are, so that results can be compared.

    Args:
        persons: all of a project's.
        path: the pickled split; the merged table has to be beside it.
        val: share of the training pictures to validate with, drawn as :func:`hgfast.data.split.split_by_shares` does.
        seed: of that draw.

    Raises:
        TypeError: not a path.
        FileNotFoundError: no such file, or no table beside it.
        AnnotationError: not such a file, one of another table, or one whose pictures are not those of the persons.
        ValueError: a share that leaves nothing to train on.
    """
    path = _checks.path("", "split", path)
    train, test = _pictures(path)
    ends = ends_of(persons)
    parts = {"train": _persons(persons, train, ends, path), "test": _persons(persons, test, ends, path)}
    for part, found in parts.items():
        if not found:
            raise AnnotationError(f"{path}: none of its pictures to {part} with is among the labelled ones")
    return split_by_shares(parts["train"], val, 0.0, seed) | {"test": parts["test"]}


def _persons(
    persons: Sequence[Person], names: list[str], ends: dict[tuple[str, ...], set[str]], path: Path
) -> list[Person]:
    """Return those in pictures of these names; a picture without labels is nobody's."""
    wanted: set[str] = set()
    for name in names:
        pictures = ends.get(tuple(name.split("/")), set())
        if len(pictures) > 1:
            raise AnnotationError(f"{path}: {name!r} is the name of {len(pictures)} of the pictures")
        wanted |= pictures
    return [person for person in persons if str(person.image) in wanted]


def _pictures(path: Path) -> tuple[list[str], list[str]]:
    """Return the names of the training and of the test pictures."""
    content = read_pickle(path)
    if not isinstance(content, list) or len(content) != 4:
        raise AnnotationError(f"{path}: expected a list of entries, training rows, test rows and their share")
    table = _table_beside(path)
    names = read_table(table).pictures
    parts = [_rows(content[place], part, len(names), path) for place, part in ((1, "training"), (2, "test"))]
    train, test = ([names[row] for row in dict.fromkeys(rows)] for rows in parts)
    if both := set(train) & set(test):
        raise AnnotationError(f"{path}: {min(both)!r} is both a training and a test picture")
    other = sorted(_images(content[0]) - set(train))
    if other:
        raise AnnotationError(f"{path}: {other[0]!r} is no training picture by {table.name}: made anew since?")
    return train, test


def read_pickle(path: Path) -> Any:
    """Read what a pickle holds: lists, tuples, dictionaries, numbers and texts; of all else stand-ins.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: it is damaged, or no pickle.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found")
    content = path.read_bytes()
    try:
        for opcode, argument, _ in pickletools.genops(content):  # lengths that the file does not have are found here
            if opcode.name in _MEMO and int(str(argument)) > len(content):
                raise ValueError(f"place {argument} of a memo")
        return _Inert(io.BytesIO(content), encoding="latin1").load()
    except _BROKEN as error:
        raise AnnotationError(f"{path}: not a pickled split ({str(error).splitlines()[0:1]})") from None


class _Inert(pickle.Unpickler):
    """Puts a stand-in in the place of each class and function that a pickle names."""

    def find_class(self, module: str, name: str) -> type[StandIn]:
        """Return the stand-in; nothing is imported."""
        return stand_in_for(f"{module}.{name}")


def _rows(value: Any, part: str, count: int, path: Path) -> list[int]:
    """Return the rows of the table, without the -1 that DeepLabCut fills up with."""
    found = as_tensor(value)
    if isinstance(found, Tensor):
        found = found.tolist()
    numbers = [as_tensor(number) for number in found] if isinstance(found, (list, tuple)) else [None]
    rows: list[Any] = [int(number) if isinstance(number, Tensor) and not number.dim() else number for number in numbers]
    if not all(type(row) is int and -1 <= row < count for row in rows):
        raise AnnotationError(f"{path}: expected {part} rows below {count}, the number of rows in the table beside it")
    return [row for row in rows if row >= 0]


def _images(entries: Any) -> set[str]:
    """Return the names in the entries of the training pictures: parts of a path, or with older versions a text."""
    names = set()
    for entry in entries if isinstance(entries, list) else []:
        image = entry.get("image") if isinstance(entry, dict) else None
        if isinstance(image, str):
            names.add(image.replace("\\", "/"))
        elif isinstance(image, tuple) and all(isinstance(part, str) for part in image):
            names.add("/".join(image))
    return names


def _table_beside(path: Path) -> Path:
    tables = sorted(path.parent.glob("CollectedData_*.csv")) or sorted(path.parent.glob("CollectedData_*.h5"))
    if not tables:
        raise FileNotFoundError(f"{path}: DeepLabCut's merged table CollectedData_*.csv is not beside it")
    if len(tables) > 1:
        raise AnnotationError(f"{path}: two tables beside it: {tables[0].name}, {tables[1].name}")
    return tables[0]
