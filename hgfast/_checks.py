"""Argument checks of the public functions: each error names function, argument, what was expected and what came.

`where` is the function's name as it begins the message; empty where the argument's name says enough. A check returns
the value in the form that the code behind it uses, so that nothing unchecked goes on.
"""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INT64_MAX = 2**63 - 1
_UNINITIALISED = (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)  # of lazy modules


def describe(value: Any) -> str:
    """What came, short: type, and shape or value where these say more."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        dtype = str(value.dtype).removeprefix("torch.")
        shape = "nested" if getattr(value, "is_nested", False) else tuple(value.shape)
        return f"{type(value).__name__} of {dtype} {shape}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return f"{type(value).__name__} {_short.repr(value)}" if value is not None else "None"
    return type(value).__name__


_short = reprlib.Repr()
_short.maxstring = _short.maxlong = _short.maxother = 60


def _at(where: str, name: str) -> str:
    return f"{where}: {name}" if where else name


def tensor(
    where: str, name: str, value: Any, *, ndim: int | None = None, dtypes: Sequence[torch.dtype] = FLOATING
) -> None:
    """A dense (strided) tensor of the given rank and one of the given dtypes.

    Raises:
        TypeError: not a tensor, a sparse, nested, quantised or uninitialised one, or another dtype.
        ValueError: another rank.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{_at(where, name)} must be a torch.Tensor, got {type(value).__name__}")
    if isinstance(value, _UNINITIALISED):
        raise TypeError(f"{_at(where, name)} must hold data, got a parameter that is not initialised yet")
    if value.layout != torch.strided or value.is_nested:
        layout = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        raise TypeError(f"{_at(where, name)} must be a dense tensor, got layout {layout}")
    if value.dtype not in dtypes:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        came = str(value.dtype).removeprefix("torch.")
        raise TypeError(f"{_at(where, name)} must have one of the dtypes {expected}; got {came}")
    if ndim is not None and value.dim() != ndim:
        raise ValueError(
            f"{_at(where, name)} must have {ndim} dimensions, got {value.dim()} (shape {tuple(value.shape)})"
        )


def same_kind(where: str, first: tuple[str, torch.Tensor], *others: tuple[str, torch.Tensor | None]) -> None:
    """The other tensors have the first one's dtype and device; None is passed over.

    Raises:
        TypeError: another dtype.
        ValueError: another device.
    """
    name, reference = first
    for other_name, other in others:
        if other is None:
            continue
        if other.dtype != reference.dtype:
            raise TypeError(f"{_at(where, other_name)} must have {name}'s dtype {reference.dtype}, got {other.dtype}")
        if other.device != reference.device:
            raise ValueError(
                f"{_at(where, other_name)} must be on {name}'s device {reference.device}, got {other.device}"
            )


def shape(where: str, name: str, value: torch.Tensor | np.ndarray, expected: Sequence[int], why: str = "") -> None:
    """Exactly this shape.

    Raises:
        ValueError: another shape.
    """
    if tuple(value.shape) != tuple(expected):
        note = f" ({why})" if why else ""
        raise ValueError(f"{_at(where, name)} must have shape {tuple(expected)}{note}, got {tuple(value.shape)}")


def choice(where: str, name: str, value: Any, allowed: Sequence[Any]) -> None:
    """One of a list of values.

    Raises:
        TypeError: something of a type that none of them has.
        ValueError: another value.
    """
    expected = ", ".join(map(repr, allowed))
    if not any(type(value) is type(one) for one in allowed):
        raise TypeError(f"{_at(where, name)} must be one of {expected}; got {describe(value)}")
    if value not in allowed:
        raise ValueError(f"{_at(where, name)} must be one of {expected}; got {_short.repr(value)}")


def integer(where: str, name: str, value: Any, minimum: int | None = None, maximum: int = INT64_MAX) -> int:
    """A whole number between two bounds, as int; numpy's integers too, no bool.

    Raises:
        TypeError: not a whole number.
        ValueError: outside the bounds.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Integral, torch.SymInt)):
        raise TypeError(f"{_at(where, name)} must be an int, got {describe(value)}")
    whole: Any = value if isinstance(value, torch.SymInt) else int(value)
    if minimum is not None and whole < minimum:
        raise ValueError(f"{_at(where, name)} must be at least {minimum}, got {_short.repr(whole)}")
    if whole > maximum:
        raise ValueError(f"{_at(where, name)} must be at most {maximum}, got {_short.repr(whole)}")
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
    """A finite number between two bounds, or greater than `above`, as float; no bool. Without `finite`, infinities too.

    Raises:
        TypeError: not a real number.
        ValueError: NaN, not finite, or outside the bounds.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{_at(where, name)} must be a number, got {describe(value)}")
    real: Any = value
    try:
        result = float(real)
    except OverflowError:
        result = math.inf if real > 0 else -math.inf
    if math.isnan(result) or (finite and math.isinf(result)):
        raise ValueError(f"{_at(where, name)} must be finite, got {_short.repr(value)}")
    for bound, fits, words in (
        (minimum, minimum is None or result >= minimum, "at least"),
        (maximum, maximum is None or result <= maximum, "at most"),
        (above, above is None or result > above, "greater than"),
    ):
        if not fits:
            raise ValueError(f"{_at(where, name)} must be {words} {bound}, got {_short.repr(value)}")
    return result


def flag(where: str, name: str, value: Any) -> bool:
    """A bool; numpy's too.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{_at(where, name)} must be True or False, got {describe(value)}")
    return bool(value)


def integers(
    where: str, name: str, value: Any, count: int | None = None, minimum: int | None = None, maximum: int = INT64_MAX
) -> list[int]:
    """Whole numbers in a sequence, array or tensor, `count` of them, each between two bounds.

    Raises:
        TypeError: not a sequence, or a member that is no whole number.
        ValueError: another count, or a member outside the bounds.
    """
    if isinstance(value, (np.ndarray, torch.Tensor)):
        value = array(where, name, value).tolist()
    if not isinstance(value, (list, tuple, range)):
        raise TypeError(f"{_at(where, name)} must be a sequence of ints, got {describe(value)}")
    if count is not None and len(value) != count:
        raise ValueError(f"{_at(where, name)} must have {count} entries, got {len(value)}")
    return [integer(where, f"{name}[{i}]", entry, minimum, maximum) for i, entry in enumerate(value)]


def size(where: str, name: str, value: Any, minimum: int = 1, maximum: int = 1 << 20) -> tuple[int, int]:
    """(width, height), two whole numbers.

    Raises:
        TypeError, ValueError: as :func:`integers`.
    """
    width, height = integers(where, name, value, 2, minimum, maximum)
    return width, height


def array(
    where: str,
    name: str,
    value: Any,
    expected: Sequence[int | None] | None = None,
    *,
    finite: bool = False,
    why: str = "",
) -> np.ndarray:
    """Real numbers as an array: of a dense tensor, an array or nested lists; None in `expected` stands for any length.

    `why` says where the expected lengths come from.

    Raises:
        TypeError: something that holds no real numbers.
        ValueError: ragged lists, another shape, or, with finite, NaN or an infinity.
    """
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_nested or value.is_quantized or value.device.type == "meta":
            raise TypeError(f"{_at(where, name)} must be a dense tensor with data, got {describe(value)}")
        if value.is_complex():
            raise TypeError(f"{_at(where, name)} must hold real numbers, got {describe(value)}")
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    elif not isinstance(value, (np.ndarray, np.generic, list, tuple, int, float)):
        raise TypeError(f"{_at(where, name)} must be an array of numbers, got {describe(value)}")
    try:
        result = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{_at(where, name)} must be an array of numbers of one shape: {error}") from None
    if result.dtype.kind not in "biuf":
        raise TypeError(f"{_at(where, name)} must hold real numbers, got dtype {result.dtype}")
    if expected is not None:
        fits = result.ndim == len(expected)
        if not fits or any(e is not None and e != s for e, s in zip(expected, result.shape, strict=True)):
            wanted = ", ".join("any" if e is None else str(e) for e in expected)
            note = f" ({why})" if why else ""
            raise ValueError(f"{_at(where, name)} must have shape ({wanted}){note}, got {result.shape}")
    if finite and not np.isfinite(result).all():
        raise ValueError(f"{_at(where, name)} must be finite, got NaN or an infinity")
    return result


def picture(where: str, name: str, value: Any, expected: str = "a uint8 array (H, W, 3)") -> None:
    """A picture as OpenCV has it: uint8 (H, W, 3), not empty.

    Raises:
        TypeError: not such an array.
        ValueError: another shape.
    """
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        raise TypeError(f"{_at(where, name)} must be {expected}, got {describe(value)}")
    if value.ndim != 3 or value.shape[2] != 3 or 0 in value.shape:
        raise ValueError(f"{_at(where, name)} must have shape (H, W, 3), got {value.shape}")


def device(where: str, name: str, value: Any) -> torch.device:
    """A device that this machine has and that holds numbers (not "meta").

    Raises:
        TypeError: neither a str nor a torch.device.
        ValueError: no such device.
    """
    instance(where, name, value, str, torch.device)
    try:
        result = torch.device(value)
        torch.zeros(1, device=result).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{_at(where, name)}: cannot use {str(value)!r} ({reason})") from None
    return result


def path(where: str, name: str, value: Any) -> Path:
    """A path that the operating system can take.

    Raises:
        TypeError: no str or path.
        ValueError: empty, or with a zero byte.
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{_at(where, name)} must be a path, got {describe(value)}")
    text = os.fspath(value)
    if not text or "\0" in text:
        raise ValueError(f"{_at(where, name)} must be a path, got {_short.repr(text)}")
    return Path(text)


def instance(where: str, name: str, value: Any, *kinds: type) -> None:
    """An instance of one of these classes.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{_at(where, name)} must be a {names}, got {describe(value)}")


def function(where: str, name: str, value: Any) -> None:
    """Something that can be called.

    Raises:
        TypeError: anything else.
    """
    if not callable(value):
        raise TypeError(f"{_at(where, name)} must be a function, got {describe(value)}")
