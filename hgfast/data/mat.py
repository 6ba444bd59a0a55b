"""Arrays of numbers from MATLAB files of versions 5 to 7.2, as MPII's head boxes come in.

The format is MathWorks' "MAT-File Format": a header of 128 bytes, then an element for each variable, which may be
compressed. An element is its type, its size and its content; in that of a variable stand, again as elements, its flags,
its shape, its name and its numbers. scipy's reader is not used, for some damaged files end it with a segmentation
fault. Here no more is read of a variable than the one asked for can have.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from hgfast.data.fields import AnnotationError

INT8, _INT32, _UINT32, MATRIX, _COMPRESSED = 1, 5, 6, 14, 15  # types of elements
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_KINDS = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse array", 16: "a function"}
NUMERIC = range(6, 16)  # double, single, signed and unsigned integers
_COMPLEX = 0x800
_HEAD = 2048  # bytes of flags, shape and name: a name has 63 letters
_CHUNK = 1 << 16
_MOST_DIMENSIONS = 32


class Damaged(Exception):
    """What is wrong with the file."""


class Variable(NamedTuple):
    """An array up to its content: name, class, shape, and the elements that follow."""

    name: bytes
    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    rest: Elements


def read_numbers(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read the real numbers of one variable, in float64; of several of that name, the first.

    Args:
        path: of the file.
        name: of the variable.
        shape: that it must have.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: no MATLAB file of these versions, a damaged one, or one without such a variable.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: file not found")
    with path.open("rb") as file:
        order = byte_order(path, file.read(128))
        try:
            found = find_variable(file, os.path.getsize(path), order, name.encode(), _HEAD + 8 * math.prod(shape))
            if found is None:
                raise AnnotationError(f"{path}: field {name!r} is missing")
            if found.kind not in NUMERIC or found.is_complex:
                kind = "complex numbers" if found.is_complex else _KINDS[found.kind]
                raise AnnotationError(f"{path}: field {name!r}: expected real numbers, got {kind}")
            if found.shape != shape:
                raise AnnotationError(f"{path}: field {name!r}: expected shape {shape}, got {found.shape}")
            return numbers(found, order)
        except (Damaged, zlib.error) as error:
            raise AnnotationError(f"{path}: not a MATLAB file that can be read ({error})") from None


def byte_order(path: Path, header: bytes) -> str:
    """struct's letter for the order of bytes that a file of these versions has; raises AnnotationError for others."""
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128], "")
    version = struct.unpack(f"{order}H", header[124:126])[0] if order else 0
    if version == 0x200 or header.startswith(b"\x89HDF"):
        raise AnnotationError(f"{path}: a MATLAB file of version 7.3; save it with -v7 in MATLAB")
    if version != 0x100:
        raise AnnotationError(f"{path}: not a MATLAB file that can be read (no header of versions 5 to 7)")
    return order


def find_variable(file: BinaryIO, end: int, order: str, name: bytes, limit: int) -> Variable | None:
    """Return the first variable of a name; limit: bytes that it may have."""
    at = file.tell()
    while at < end:
        file.seek(at)
        kind, size = _unpacked(f"{order}II", file.read(8))
        if at + 8 + size > end:
            raise Damaged("an element is longer than the file")
        found = variable(_beginning(file, kind, size, order, _HEAD), order)
        if found is not None and found.name == name:
            file.seek(at + 8)
            return variable(_beginning(file, kind, size, order, limit), order)
        at += 8 + size
    return None


def _beginning(file: BinaryIO, kind: int, size: int, order: str, limit: int) -> bytes:
    """Read as much as limit says of a variable that begins here."""
    if kind == MATRIX:
        return file.read(min(size, limit))
    if kind != _COMPRESSED:
        raise Damaged(f"an element of type {kind} is no variable")
    decoder, parts, missing = zlib.decompressobj(), [], limit + 8
    while missing and size and not decoder.eof:
        packed = file.read(min(size, _CHUNK))
        if not packed:
            raise Damaged("it ends too early")
        parts.append(decoder.decompress(packed, missing))
        size, missing = size - len(packed), missing - len(parts[-1])
    content = b"".join(parts)
    if _unpacked(f"{order}II", content[:8])[0] != MATRIX:
        raise Damaged("a compressed element is no variable")
    return content[8:]


def variable(content: bytes, order: str) -> Variable | None:
    """Return what stands before the numbers; None for a kind that begins in another way."""
    elements = Elements(content, order)
    flags = _unpacked(f"{order}II", elements.next(_UINT32)[1])[0]
    if flags & 0xFF not in _KINDS and flags & 0xFF not in NUMERIC:
        return None
    sizes = elements.next(_INT32)[1]
    shape = _unpacked(f"{order}{len(sizes) // 4}i", sizes)
    if len(shape) > _MOST_DIMENSIONS:
        raise Damaged(f"a variable has {len(shape)} dimensions")
    return Variable(elements.next(INT8)[1], flags & 0xFF, bool(flags & _COMPLEX), shape, elements)


def numbers(variable: Variable, order: str) -> np.ndarray:
    """Return the real numbers of an array, in float64 and its shape."""
    kind, content = variable.rest.next()
    if kind not in _NUMBERS:
        raise Damaged(f"an element of type {kind} is no numbers")
    dtype = np.dtype(order + _NUMBERS[kind])
    if len(content) != math.prod(variable.shape) * dtype.itemsize:
        raise Damaged("a variable has more or fewer numbers than its shape says")
    with np.errstate(invalid="ignore"):  # of a signalling NaN
        numbers = np.frombuffer(content, dtype).astype(np.float64)
    return numbers.reshape(variable.shape, order="F")


class Elements:
    """The elements inside a variable, in their order."""

    def __init__(self, content: bytes, order: str) -> None:
        self._content, self._order, self._at = content, order, 0

    def next(self, wanted: int = 0) -> tuple[int, bytes]:
        """Type and content of the next one, which must be of the type that is wanted, if one is."""
        head = self._take(8)
        kind, size = _unpacked(f"{self._order}II", head)
        if kind >> 16:  # up to four bytes stand in the head itself
            kind, size = kind & 0xFFFF, kind >> 16
            content = head[4 : 4 + size]
        else:
            content = self._take(size)
            self._at += -size % 8
        if len(content) != size or wanted not in (0, kind):
            raise Damaged(f"an element of type {kind} and {size} bytes where there should be another")
        return kind, content

    def left(self) -> int:
        """Return how many bytes follow."""
        return len(self._content) - self._at

    def _take(self, count: int) -> bytes:
        self._at += count
        return self._content[self._at - count : self._at]


def _unpacked(form: str, content: bytes) -> tuple[int, ...]:
    if len(content) != struct.calcsize(form):
        raise Damaged("it ends too early")
    return struct.unpack(form, content)
