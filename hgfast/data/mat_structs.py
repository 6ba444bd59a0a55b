"""Structures from MATLAB files of versions 5 to 7.2, as MPII's annotations come in; see :mod:`hgfast.data.mat`."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.data import mat
from hgfast.data.fields import AnnotationError

_CELL, _STRUCT, _TEXT = 1, 2, 4  # classes of arrays
_CHARACTERS = {  # of each order of bytes and type of numbers; latin-1 for the rest
    "<": {4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"},
    ">": {4: "utf-16-be", 16: "utf-8", 17: "utf-16-be"},
}
_LARGEST, _PACKED = 1 << 26, 100  # bytes that any file may unpack to, and times its size: MPII's is packed to a 15th
_DEEPEST = 16  # structures within structures
_SMALLEST = 8  # bytes of an element


def read_struct(path: Path, name: str) -> list[dict[str, Any]]:
    """Read a variable that is an array of structures, as a list of dictionaries in MATLAB's order.

    Structures inside are again lists of dictionaries, cell arrays lists, texts str, numbers arrays of float64; what is
    none of these (sparse arrays, objects, functions) is None.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: no MATLAB file of these versions, a damaged one, or one without such a variable.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: file not found")
    size = os.path.getsize(path)
    with path.open("rb") as file:
        order = mat.byte_order(path, file.read(128))
        try:
            found = mat.find_variable(file, size, order, name.encode(), max(_LARGEST, _PACKED * size))
            if found is None:
                raise AnnotationError(f"{path}: field {name!r} is missing")
            if found.kind != _STRUCT:
                raise AnnotationError(f"{path}: field {name!r}: expected a structure")
            return _structures(found, order, _DEEPEST)
        except (mat.Damaged, zlib.error, UnicodeDecodeError) as error:
            raise AnnotationError(f"{path}: not a MATLAB file that can be read ({error})") from None


def _value(content: bytes, order: str, depth: int) -> Any:
    if not content:  # how an empty array is written where nothing says of what
        return np.zeros(0)
    found = mat.variable(content, order)
    if found is None or not depth:
        return None
    if found.kind == _STRUCT:
        return _structures(found, order, depth)
    if found.kind == _CELL:
        return [_value(found.rest.next(mat.MATRIX)[1], order, depth - 1) for _ in range(_count(found))]
    if found.kind == _TEXT:
        kind, letters = found.rest.next()
        text = letters.decode(_CHARACTERS[order].get(kind, "latin-1"))
        return text if len(found.shape) == 2 and found.shape[0] <= 1 else None
    return mat.numbers(found, order) if found.kind in mat.NUMERIC and not found.is_complex else None


def _structures(found: mat.Variable, order: str, depth: int) -> list[dict[str, Any]]:
    sizes = found.rest.next()[1]
    length = int.from_bytes(sizes[:4], "little" if order == "<" else "big")
    letters = found.rest.next(mat.INT8)[1]
    if not 0 < length <= 64:
        raise mat.Damaged(f"names of fields have {length} letters")
    names = [letters[at : at + length].split(b"\0")[0].decode("latin-1") for at in range(0, len(letters), length)]
    count = _count(found)
    if not names:
        return [{} for _ in range(min(count, 1))]
    return [{name: _value(found.rest.next(mat.MATRIX)[1], order, depth - 1) for name in names} for _ in range(count)]


def _count(found: mat.Variable) -> int:
    """Read how many elements there are, no more than the rest of the content can hold."""
    count = 1
    for side in found.shape:
        count *= side
    if count < 0 or count * _SMALLEST > found.rest.left():
        raise mat.Damaged(f"an array has {count} elements in {found.rest.left()} bytes")
    return count
