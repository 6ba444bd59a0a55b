"""Tensors and arrays as arguments, and the table of how each can be wrong."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tests.fuzz.cases import Spoiler
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Odd, wrong_types

INTEGRAL = (torch.int64, torch.int32, torch.uint8, torch.int8, torch.bool)


class PlainSubclass(torch.Tensor):
    """A subclass that adds nothing."""


@dataclass
class Tensor:
    """A dense tensor.

    Attributes:
        fixed: dimensions whose size another argument, or the function, determines.
        least: the smallest sizes of dimensions that are free, where that is not 0.
        dtypes: further dtypes than the floating ones that are fine.
        tied: whether its dtype must be that of another argument.
        alone: whether it is the only tensor (then "meta" is a device like any other).
        optional: whether None is fine.
        rank: whether its rank is determined.
    """

    fixed: Sequence[int] = ()
    least: Mapping[int, int] = field(default_factory=dict)
    dtypes: Sequence[torch.dtype] = ()
    tied: bool = False
    alone: bool = False
    optional: bool = False
    rank: bool = True

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        ways = [Spoiler(label, lambda v=v: v) for label, v in self._wrong_types(value).items()]
        if value is None:
            return ways
        t = value.detach()
        for dtype in (torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint8, torch.int8):
            ways.append(Spoiler(str(dtype), lambda d=dtype: t.to(d), dtype in self.dtypes))
        if self.tied:
            other = torch.float64 if t.dtype != torch.float64 else torch.float32
            ways.append(Spoiler(f"another dtype, {other}", lambda: t.to(other)))
        ways += self._layouts(t) + self._shapes(t, draw)
        return ways + [
            Spoiler("subclass", lambda: t.as_subclass(PlainSubclass), True),
            Spoiler("parameter", lambda: torch.nn.Parameter(t, t.is_floating_point()), True),
            Spoiler("NaN", lambda: _filled(t, math.nan), True),
            Spoiler("inf", lambda: _filled(t, math.inf), True),
            Spoiler("huge", lambda: _filled(t, 3e38), True),
        ]

    def _wrong_types(self, value: Any) -> dict[str, Any]:
        array = np.ones(3) if value is None or value.dtype == torch.bfloat16 else value.detach().numpy()
        return wrong_types(self.optional) | {
            "number": 3, "float": 2.5, "text": "abc", "nested list": [[1.0, 2.0]], "array": array, "tuple": (value,),
            "ragged": [[1.0], [2.0, 3.0]], "numpy scalar": np.float32(1), "Size": torch.Size((1, 2)),
        }  # fmt: skip

    def _layouts(self, t: torch.Tensor) -> list[Spoiler]:
        ways = [
            Spoiler("sparse", lambda: t.to_sparse()),
            Spoiler("nested", lambda: _nested(t)),
            Spoiler("meta", lambda: t.to("meta"), self.alone),
            Spoiler("quantised", lambda: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8)),
            Spoiler("uninitialised", lambda: torch.nn.UninitializedParameter()),
        ]
        if t.dim() >= 2 and t.numel():
            ways.append(Spoiler("csr", lambda: _csr(t)))
        if t.dtype == torch.float32 and t.numel() and t.dim() in (1, 2, 4):
            ways.append(Spoiler("mkldnn", lambda: t.contiguous().to_mkldnn()))
        return ways

    def _shapes(self, t: torch.Tensor, draw: Draw) -> list[Spoiler]:
        ways: list[Spoiler] = []
        if self.rank:
            ways.append(Spoiler("one more dimension", lambda: t[None]))
            ways.append(Spoiler("no dimensions", lambda: t.new_zeros(())))
            if t.dim() > 1:
                ways.append(Spoiler("one dimension less", lambda: t.new_zeros(t.shape[1:])))
        for place, length in enumerate(t.shape):
            for label, size in (("larger", length + 1), ("smaller", length - 1), ("empty", 0)):
                if 0 <= size != length:
                    fine = place not in self.fixed and size >= self.least.get(place, 0)
                    ways.append(Spoiler(f"{label} in {place}", lambda p=place, s=size: _resized(t, p, s), fine))
        return ways


def _filled(t: torch.Tensor, value: float) -> torch.Tensor:
    """A copy with one element of this value, where the dtype has it."""
    copy = t.clone(memory_format=torch.contiguous_format)
    if copy.numel() and copy.is_floating_point():
        copy.view(-1)[copy.numel() // 2] = value
    return copy


def _resized(t: torch.Tensor, place: int, size: int) -> torch.Tensor:
    shape = list(t.shape)
    shape[place] = size
    return torch.ones(shape, dtype=t.dtype)


def _nested(t: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([t.float().contiguous(), t.float().contiguous()])


def _csr(t: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return t.reshape(t.shape[0], -1).float().to_sparse_csr()


@dataclass
class Array:
    """Numbers in an array, nested lists or a tensor.

    Attributes:
        fixed: dimensions whose size is determined.
        least: the smallest sizes of the others, where that is not 0.
        finite: whether NaN and infinities are wrong.
        low: a bound for the numbers, or None.
        strict: only numpy arrays, as a picture is; then of its own dtype.
        optional: whether None is fine.
        rank: whether its rank is determined.
    """

    fixed: Sequence[int] = ()
    least: Mapping[int, int] = field(default_factory=dict)
    finite: bool = False
    low: float | None = None
    strict: bool = False
    optional: bool = False
    rank: bool = True

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        table = wrong_types(self.optional) | {
            "text": "abc", "ragged": [[1.0, 2.0], [3.0]], "texts": np.array(["a", "b"]), "set": {1.0},
            "objects": np.array([Odd(), None], dtype=object), "list of None": [None, None], "dates": _dates(),
        }  # fmt: skip
        ways = [Spoiler(label, lambda v=v: v) for label, v in table.items()]
        if value is None:
            return ways
        array = np.asarray(value)
        ways += [Spoiler(label, make) for label, make in self._wrong_tensors(array).items()]
        ways += [
            Spoiler("complex numbers", lambda: array.astype(complex)),
            Spoiler("list", array.tolist, not self.strict),
            Spoiler("tensor", lambda: torch.from_numpy(array.copy()), not self.strict),
            Spoiler("reversed", lambda: array.copy()[::-1], True),
            Spoiler("Fortran order", lambda: np.asfortranarray(array), True),
            Spoiler("10^400", lambda: _with_huge(array)),
        ]
        if array.dtype.kind == "f":
            for label, number in (("NaN", math.nan), ("inf", math.inf)):
                ways.append(Spoiler(label, lambda n=number: _with(array, n), not (self.finite and array.size)))
            ways.append(Spoiler("1e38", lambda: _with(array, 1e38), True))
            if self.low is not None and array.size:
                ways.append(Spoiler("below", lambda: _with(array, self.low - 1)))
        return ways + self._shapes(array)

    def _wrong_tensors(self, array: np.ndarray) -> dict[str, Callable[[], Any]]:
        def tensor() -> torch.Tensor:
            return torch.from_numpy(array.astype(np.float32))

        return {
            "sparse": lambda: tensor().to_sparse(),
            "nested tensor": lambda: _nested(tensor()),
            "meta": lambda: tensor().to("meta"),
            "quantised": lambda: torch.quantize_per_tensor(tensor(), 0.1, 0, torch.qint8),
            "complex tensor": lambda: tensor().to(torch.complex64),
        }

    def _shapes(self, array: np.ndarray) -> list[Spoiler]:
        ways: list[Spoiler] = []
        if self.rank:
            ways += [
                Spoiler("one more dimension", lambda: array[None]),
                Spoiler("no dimensions", lambda: np.zeros((), array.dtype)),
            ]
        for place, length in enumerate(array.shape):
            for label, size in (("larger", length + 1), ("smaller", length - 1), ("empty", 0)):
                if 0 <= size != length:
                    fine = place not in self.fixed and size >= self.least.get(place, 0)
                    shape = (*array.shape[:place], size, *array.shape[place + 1 :])
                    ways.append(Spoiler(f"{label} in {place}", lambda s=shape: np.ones(s, array.dtype), fine))
        return ways


def _dates() -> np.ndarray:
    return np.array(["2026-01-01"], dtype="datetime64[D]")


def _with(array: np.ndarray, number: float) -> np.ndarray:
    copy = array.copy()
    if copy.size:
        copy.flat[copy.size // 2] = number
    return copy


def _with_huge(array: np.ndarray) -> Any:
    copy = array.astype(object)
    if copy.size:
        copy.flat[0] = 10**400
    else:
        copy = np.array([10**400], dtype=object)
    return copy.tolist()
