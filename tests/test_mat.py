"""The reader of MATLAB files: what it reads is what was written, and no damaged file does harm."""

from __future__ import annotations

import io
import random
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from hgfast.data import AnnotationError
from hgfast.data.mat import read_numbers
from tests.fuzz.damage import damaged
from tests.fuzz.draw import Draw

NAME, SHAPE = "headboxes_src", (2, 2, 5)
OTHERS = {"jnt_missing": np.eye(3), "s": {"a": 1.0, "b": "text"}, "c": np.array([1, "a"], object), "t": "text"}
TYPES = ("float64", "float32", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def numbers(dtype: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)


def written(content: dict, **options: object) -> bytes:
    file = io.BytesIO()
    pytest.importorskip("scipy.io").savemat(file, content, **options)
    return file.getvalue()


def element(order: str, kind: int, content: bytes) -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def by_hand(order: str, boxes: np.ndarray, stored: tuple[int, str]) -> bytes:
    """A file as a machine of this byte order writes it, doubles being stored in a smaller type."""
    kind, dtype = stored
    variable = element(order, 6, struct.pack(f"{order}II", 6, 0)) + element(order, 5, struct.pack(f"{order}3i", *SHAPE))
    variable += element(order, 1, NAME.encode()) + element(order, kind, boxes.astype(order + dtype).tobytes("F"))
    return bytes(124) + struct.pack(f"{order}HH", 0x100, 0x4D49) + element(order, 14, variable)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_all_types_that_scipy_writes(dtype: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(written(OTHERS | {NAME: numbers(dtype)}, do_compression=compressed))
    found = read_numbers(path, NAME, SHAPE)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, numbers(dtype))


@pytest.mark.parametrize("stored", [(2, "u1"), (3, "i2"), (9, "f8")])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_and_shortened_numbers(order: str, stored: tuple[int, str], tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(by_hand(order, numbers("float64"), stored))
    np.testing.assert_array_equal(read_numbers(path, NAME, SHAPE), numbers("float64"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "field 'headboxes_src' is missing"),
        ({NAME: numbers("float64") * 1j}, "expected real numbers, got complex numbers"),
        ({NAME: np.full(SHAPE, "a", object)}, "expected real numbers, got a cell array"),
        ({NAME: {"a": 1}}, "expected real numbers, got a struct"),
        ({NAME: "text"}, "expected real numbers, got text"),
        ({NAME: np.zeros((2, 2))}, r"expected shape \(2, 2, 5\), got \(2, 2\)"),
    ],
)
def test_other_variables_are_refused(content: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(written(OTHERS | content))
    with pytest.raises(AnnotationError, match=f"a.mat: .*{message}"):
        read_numbers(path, NAME, SHAPE)


def test_other_versions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    whole = written({NAME: numbers("float64")})
    for content in (whole[:124] + b"\0\2" + whole[126:], b"\x89HDF\r\n\x1a\n" + bytes(600)):
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match="a.mat: a MATLAB file of version 7.3; save it with -v7"):
            read_numbers(path, NAME, SHAPE)
    path.write_bytes(written({NAME: np.eye(2)}, format="4"))
    with pytest.raises(AnnotationError, match="a.mat: not a MATLAB file"):
        read_numbers(path, NAME, SHAPE)


def test_damaged_files_are_refused_by_name_or_read(tmp_path: Path) -> None:
    path, noise = tmp_path / "a.mat", random.Random(0)
    wholes = [written(OTHERS | {NAME: numbers("float64")}, do_compression=compressed) for compressed in (False, True)]
    refused = 0
    for index in range(1000):
        draw = Draw("mat", 0, index)
        content = bytearray(damaged(noise.choice(wholes), draw))
        if len(content) > 200 and noise.random() < 0.5:  # the types and sizes of elements
            at = noise.randrange(128, len(content) - 8) // 8 * 8 + noise.choice((0, 4))
            content[at : at + 4] = struct.pack("<I", noise.choice((0, 1, 14, 15, 2**16, 2**31 - 1, 2**32 - 1)))
        path.write_bytes(content)
        try:
            assert read_numbers(path, NAME, SHAPE).shape == SHAPE
        except AnnotationError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert 300 < refused < 1000


@pytest.mark.parametrize("kind", ["one variable of 256 MB", "a thousand that unpack to 1 MB"])
def test_what_is_not_asked_for_is_not_unpacked(kind: str, tmp_path: Path) -> None:
    whole = written({NAME: numbers("float64")})
    head = struct.pack("<II", 14, 1 << 28) + element("<", 6, struct.pack("<II", 6, 0))
    head += element("<", 5, struct.pack("<2i", 1, 1 << 25)) + element("<", 1, b"other")
    pack = zlib.compressobj(9)
    packed = pack.compress(head)
    zeros = bytes(1 << 20)
    packed += b"".join(pack.compress(zeros) for _ in range(256 if kind.startswith("one") else 1)) + pack.flush()
    bomb = struct.pack("<II", 15, len(packed)) + packed
    path = tmp_path / "a.mat"
    path.write_bytes(whole[:128] + bomb * (1 if kind.startswith("one") else 1000) + whole[128:])
    tracemalloc.start()
    started = time.process_time()
    read_numbers(path, NAME, SHAPE)
    assert time.process_time() - started < 2 and tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
