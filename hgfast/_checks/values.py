"""Numbers, flags and choices."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from hgfast._checks.arrays import array
from hgfast._checks.text import at, describe, short

INT64_MAX = 2**63 - 1


def choice(where: str, name: str, value: Any, allowed: Collection[Any]) -> None:
    """Require one of a list of values.

    Raises:
        TypeError: something of a type that none of them has.
        ValueError: another value.
    """
    expected = ", ".join(map(repr, allowed))
    if not any(type(value) is type(one) for one in allowed):
        raise TypeError(f"{at(where, name)} must be one of {expected}; got {describe(value)}")
    if value not in allowed:
        raise ValueError(f"{at(where, name)} must be one of {expected}; got {short.repr(value)}")


def integer(where: str, name: str, value: Any, minimum: int | None = None, maximum: int = INT64_MAX) -> int:
    """Require a whole number between two bounds and return it as int; numpy's integers too, no bool.

    Raises:
        TypeError: not a whole number.
        ValueError: outside the bounds.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Integral, torch.SymInt)):
        raise TypeError(f"{at(where, name)} must be an int, got {describe(value)}")
    whole: Any = value if isinstance(value, torch.SymInt) else int(value)
    if minimum is not None and whole < minimum:
        raise ValueError(f"{at(where, name)} must be at least {minimum}, got {short.repr(whole)}")
    if whole > maximum:
        raise ValueError(f"{at(where, name)} must be at most {maximum}, got {short.repr(whole)}")
    return whole


def number(
    where: str,
    name: str,
    value: Any,
    minimum: float | None = None,
    maximum: float | None = None,
    *,
    above: float | None = None,
    finite: bool = True,
) -> float:
    """Require a number between two bounds, or greater than `above`, and return it as float; no bool.

    Raises:
        TypeError: not a real number.
        ValueError: NaN, not finite, or outside the bounds.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{at(where, name)} must be a number, got {describe(value)}")
    real: Any = value
    try:
        result = float(real)
    except OverflowError:
        result = math.inf if real > 0 else -math.inf
    if math.isnan(result) or (finite and math.isinf(result)):
        raise ValueError(f"{at(where, name)} must be finite, got {short.repr(value)}")
    for bound, fits, words in (
        (minimum, minimum is None or result >= minimum, "at least"),
        (maximum, maximum is None or result <= maximum, "at most"),
        (above, above is None or result > above, "greater than"),
    ):
        if not fits:
            raise ValueError(f"{at(where, name)} must be {words} {bound}, got {short.repr(value)}")
    return result


def flag(where: str, name: str, value: Any) -> bool:
    """Require a bool, or numpy's, and return it.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{at(where, name)} must be True or False, got {describe(value)}")
    return bool(value)


def integers(
    where: str, name: str, value: Any, count: int | None = None, minimum: int | None = None, maximum: int = INT64_MAX
) -> list[int]:
    """Return whole numbers in a sequence, array or tensor, `count` of them, each between two bounds.

    Raises:
        TypeError: not a sequence, or a member that is no whole number.
        ValueError: another count, or a member outside the bounds.
    """
    if isinstance(value, (np.ndarray, torch.Tensor)):
        value = array(where, name, value).tolist()
    if not isinstance(value, (list, tuple, range)):
        raise TypeError(f"{at(where, name)} must be a sequence of ints, got {describe(value)}")
    if count is not None and len(value) != count:
        raise ValueError(f"{at(where, name)} must have {count} entries, got {len(value)}")
    return [integer(where, f"{name}[{i}]", entry, minimum, maximum) for i, entry in enumerate(value)]


def size(where: str, name: str, value: Any, minimum: int = 1, maximum: int = 1 << 20) -> tuple[int, int]:
    """(width, height), two whole numbers.

    Raises:
        TypeError, ValueError: as :func:`integers`.
    """
    width, height = integers(where, name, value, 2, minimum, maximum)
    return width, height
