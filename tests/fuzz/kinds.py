"""Kinds of arguments that are no tensors, and the table of how each can be wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from tests.fuzz.cases import Spoiler
from tests.fuzz.draw import Draw

HUGE = 10**400


class Odd:
    """An object of no use to anybody."""


def _ways(table: dict[str, Any], fine: Sequence[str] = ()) -> list[Spoiler]:
    return [Spoiler(label, lambda value=value: value, label in fine) for label, value in table.items()]


def wrong_types(optional: bool = False) -> dict[str, Any]:
    """Values that no argument takes but None where it is optional."""
    table: dict[str, Any] = {"object": Odd(), "dict": {"a": 1}, "class": Odd, "bytes": b"abc", "complex": 2j}
    return table if optional else {"None": None, **table}


@dataclass
class Int:
    """A whole number of at least `low`, and at most `high` where there is a limit; `costly`: work grows with it."""

    low: int | None = None
    high: int | None = None
    optional: bool = False

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        table = wrong_types(self.optional) | {
            "text": "3", "float": 2.5, "whole float": 2.0, "bool": True, "NaN": math.nan, "list": [3], "tuple": (1, 2),
            "array": np.array([1, 2]), "tensor": torch.tensor([1.0, 2.0]),
        }  # fmt: skip
        ways = _ways(table)
        if value is not None:
            ways.append(Spoiler("numpy int", lambda: np.int64(value), True))
        below = {} if self.low is None else {"below": self.low - 1, "far below": -(2**31), "hugely below": -HUGE}
        above = {"2^31": 2**31, "2^63": 2**63, "10^400": HUGE}
        ways += _ways(below)
        ways += [Spoiler(label, lambda n=n: n, self.high is None or n <= self.high) for label, n in above.items()]
        return ways + ([] if self.high is None else _ways({"above": self.high + 1}))


@dataclass
class Number:
    """A real, finite number between two bounds, or above one of them that does not belong to it."""

    low: float | None = None
    above: float | None = None
    high: float | None = None
    optional: bool = False
    infinite: bool = False  # whether infinities are fine

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        table = wrong_types(self.optional) | {
            "text": "2.0", "bool": True, "list": [1.0], "array": np.array([1.0, 2.0]), "NaN": math.nan,
            "tensor": torch.ones(2), "Decimal": Decimal("1.5"),
        }  # fmt: skip
        ways = _ways(table, fine=("Decimal",))
        number = 1.0 if value is None else float(value)
        ways += [
            Spoiler("Fraction", lambda: Fraction(number), True),
            Spoiler("numpy float", lambda: np.float64(number), True),
            Spoiler("numpy float32", lambda: np.float32(number), True),
        ]
        if not self.infinite:
            ways += _ways({"inf": math.inf, "-inf": -math.inf})
        bound = self.low if self.above is None else self.above
        if bound is not None:
            ways += _ways({"below": bound - 1, "far below": -1e30, "hugely below": -HUGE})
        if self.above is not None:
            ways += _ways({"bound": self.above})
        if self.high is not None:
            ways += _ways({"above": self.high + 1})
        return ways + [
            Spoiler("10^400", lambda: HUGE, self.infinite),
            Spoiler("1e300", lambda: 1e300, self.high is None),
            Spoiler("1e-320", lambda: 1e-320, True),
        ]


@dataclass
class Flag:
    """True or False; optional: or None. Numbers 0 and 1 have always done as well."""

    optional: bool = False

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        table = wrong_types(self.optional) | {
            "text": "yes", "float": 2.5, "list": [], "array": np.array([True, False]), "tensor": torch.ones(2),
        }  # fmt: skip
        return _ways(table) + _ways({"numpy bool": np.True_, "1": 1}, fine=("numpy bool", "1"))


@dataclass
class Choice:
    """One of some values, mostly names."""

    optional: bool = False

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        table = wrong_types(self.optional) | {
            "number": 3, "empty": "", "unknown": "nothing such", "list": ["quarter"], "array": np.array([1, 2]),
            "NaN": math.nan, "surrogate": "\ud800", "zero byte": "a\0b", "tensor": torch.ones(2), "set": {1},
        }  # fmt: skip
        return _ways(table) + ([Spoiler("upper case", lambda: value.upper())] if isinstance(value, str) else [])


@dataclass
class Ints:
    """Whole numbers in a sequence, `count` of them (None: any number), each from low to high."""

    count: int | None
    low: int
    high: int | None = None
    optional: bool = False

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        table = wrong_types(self.optional) | {
            "number": 3, "text": "abc", "set": {1, 2}, "zero dimensions": np.array(3), "nested": [[1], [2]],
            "generator": (i for i in (1, 2)), "ragged": [[1, 2], [3]],
        }  # fmt: skip
        ways = _ways(table)
        good = list(value) if value is not None else []
        if good:
            ways += [
                Spoiler("array", lambda: np.array(good), True),
                Spoiler("tensor", lambda: torch.tensor(good), True),
                Spoiler("tuple", lambda: tuple(good), True),
            ]
            entries = {
                "member None": None, "member text": "1", "member float": 1.5, "member NaN": math.nan,
                "member below": self.low - 1, "member -10^400": -HUGE, "member list": [1], "member bool": True,
            }  # fmt: skip
            if self.high is not None:
                entries |= {"member above": self.high + 1, "member 2^63": 2**63, "member 10^400": HUGE}
            at = draw.int(0, len(good) - 1)
            ways += _ways({label: good[:at] + [entry] + good[at + 1 :] for label, entry in entries.items()})
        if self.count is not None:
            ways += _ways({"one more": [*good, self.low], "none": []} if self.count else {"one more": [self.low]})
            ways += _ways({"one less": good[:-1]} if self.count > 1 else {})
        return ways


@dataclass
class Text:
    """Any str."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        table = {"number": 3, "float": 2.5, "list": ["a"], "bool": True, "array": np.array(["a", "b"])}
        odd = {"newline": "a\nb", "surrogate": "\ud800", "zero byte": "a\0b", "long": "x" * 10000, "other": "日本"}
        return _ways(wrong_types() | table) + _ways(odd, fine=list(odd))


@dataclass
class Path:
    """A path; what is not there is the matter of the file targets."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        table = wrong_types() | {
            "number": 3, "list": [str(value)], "empty": "", "zero byte": "a\0b", "float": 2.5, "array": np.array([1]),
        }  # fmt: skip
        return _ways(table) + [Spoiler("text", lambda: str(value), True)]


@dataclass
class Instance:
    """An object of a class."""

    optional: bool = False

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        return _ways(
            wrong_types(self.optional)
            | {"number": 3, "text": "abc", "list": [value], "array": np.array([1.0, 2.0]), "tensor": torch.ones(2)}
        )


@dataclass
class Anything:
    """An argument that is not spoiled: its declaration is the matter of another target."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        return []
