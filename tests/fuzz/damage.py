"""Damaged files: bytes changed at random, and JSON, TOML and checkpoint contents with one place that is wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch

from tests.fuzz.draw import Draw


def damaged(content: bytes, draw: Draw) -> bytes:
    """Bytes with one to four changes: cut off, overwritten, swapped, doubled, put in or taken out."""
    data = bytearray(content)
    for _ in range(draw.one((1, 1, 1, 2, 4))):
        if not data:
            break
        # headers are where the sizes stand
        end = len(data) if draw.chance(0.5) else min(len(data), 64)
        at = draw.int(0, end - 1)
        length = draw.one((1, 1, 2, 4, 16, 200))
        way = draw.one(("cut", "bit", "byte", "byte", "zero", "ones", "random", "remove", "repeat", "insert", "number"))
        if way == "cut":
            del data[at:]
        elif way == "bit":
            data[at] ^= 1 << draw.int(0, 7)
        elif way == "byte":
            data[at] = draw.int(0, 255)
        elif way in ("zero", "ones"):
            data[at : at + length] = (b"\0" if way == "zero" else b"\xff") * len(data[at : at + length])
        elif way == "random":
            data[at : at + length] = draw.random.randbytes(len(data[at : at + length]))
        elif way == "remove":
            del data[at : at + length]
        elif way == "repeat":
            data[at:at] = data[at : at + length]
        elif way == "insert":
            data[at:at] = draw.random.randbytes(length)
        else:
            number = draw.one((2**31 - 1, 2**31, 2**32 - 1, 2**16, 0x7FFF))
            data[at : at + 4] = number.to_bytes(4, draw.one(("little", "big")))
    return bytes(data)


def any_bytes(draw: Draw) -> bytes:
    """What is no file of any form."""
    noise = draw.random.randbytes(draw.int(1, 300))
    return draw.one((b"", b"\0", b"\xff\xfe", b"PK\x03\x04", b"{", b"[]", b"null", b"[" * 100000, b"9" * 6000, noise))


def odd_values() -> list[Any]:
    """What may stand where something else should, in JSON."""
    return [
        None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.5, 1e300, math.nan, math.inf, -math.inf,
        "", "abc", "12", "\ud800", "a\0b", "../../etc/passwd", "x" * 5000, [], {}, [[]], [None], ["a"], [1, 2],
        [1.0] * 100, {"a": 1}, {"id": 1}, [[1, 2], [3]],
    ]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything inside nested dictionaries and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def replaced(content: Any, draw: Draw) -> tuple[Any, tuple[Any, ...]]:
    """A copy of nested content in which one place holds another value, or is missing; and that place."""
    content = copy.deepcopy(content)
    found = list(places(content))
    if not found:
        return draw.one(odd_values()), ()
    *way, last = place = draw.one(found)
    parent = content
    for key in way:
        parent = parent[key]
    if isinstance(parent, tuple):
        return content, place
    if draw.chance(0.15):
        del parent[last]
    else:
        old = parent[last]
        parent[last] = draw.one(odd_tensors(old) if isinstance(old, torch.Tensor) else odd_values())
    return content, place


def odd_tensors(tensor: torch.Tensor) -> list[Any]:
    """What may stand in the place of a tensor in a checkpoint."""
    t = tensor.detach()
    values = [
        None, 0, 1.5, "abc", [], {}, [1, 2], -1, 2**40, math.nan, t.to(torch.complex64), t.bool(), t.double(), t.half(),
        t[None], t.flatten(), t.new_zeros(()), t.new_zeros(0), torch.ones([s + 1 for s in t.shape]), t.to_sparse(),
        torch.zeros(1).expand([max(s, 1) * 1000 for s in t.shape]) if t.dim() else t, t.to(torch.int64),
    ]  # fmt: skip
    if t.is_floating_point():
        values += [t * math.nan, torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8)]
    return values
