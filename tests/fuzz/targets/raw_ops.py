"""torch.ops.hgfast: the operators below the public functions.

torch itself refuses arguments of wrong Python types and tensors of other layouts, in its own words; shapes, dtypes,
devices and numbers are the operators' matter, and their messages name the argument of the schema.
"""

from __future__ import annotations

from typing import Any

import torch

from hgfast.ops._registry import OPS
from tests.fuzz.cases import Case, Spoiler, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Int, Number
from tests.fuzz.tensor_kinds import Tensor
from tests.op_samples import SAMPLES

TORCHS_OWN = ("sparse", "csr", "mkldnn", "nested", "quantised", "meta", "uninitialised")


def _is_refused_by_torch(way: Spoiler) -> bool:
    return way.label in TORCHS_OWN


def _tensor_ways(value: torch.Tensor, draw: Draw) -> list[Spoiler]:
    ways = Tensor(tuple(range(value.dim()))).spoilers(value, draw)
    kept = [way for way in ways if isinstance(way.make(), torch.Tensor)]
    return [Spoiler(way.label, way.make, True) for way in kept]


def _case(name: str, draw: Draw) -> Case:
    op = getattr(torch.ops.hgfast, name).default
    arguments = list(draw.one(SAMPLES[name]("cpu")))
    if draw.chance(0.3):
        return Case(lambda: op(*arguments), inputs=arguments)
    at = draw.int(0, len(arguments) - 1)
    value = arguments[at]
    if isinstance(value, torch.Tensor):
        ways = _tensor_ways(value, draw)
    elif isinstance(value, (bool, str, torch.dtype)) or value is None:
        ways = []
    elif isinstance(value, list):
        ways = [Spoiler("list", lambda: [*value, 10**6]), Spoiler("negative", lambda: [-1] * max(len(value), 1))]
    else:
        kind: Any = Int() if isinstance(value, int) else Number()
        good = [way for way in kind.spoilers(value, draw) if isinstance(way.make(), (int, float))]
        numbers = (0, -1, -(2**31), 2**31 - 1, 2**62)
        ways = [Spoiler(way.label, way.make, True) for way in good if type(way.make()) is type(value)]
        ways += [Spoiler(str(n), lambda n=n: type(value)(n), True) for n in numbers]
    if not ways:
        return Case(lambda: op(*arguments), inputs=arguments)
    way = draw.one(ways)
    arguments[at] = way.make()
    schema_name = op._schema.arguments[at].name
    torchs = _is_refused_by_torch(way)
    errors: tuple[type[BaseException], ...] = (TypeError, ValueError, NotImplementedError)
    if torchs or way.label in ("10^400", "2^63", "hugely below"):
        errors = (*errors, RuntimeError)
    return Case(
        lambda: op(*arguments), blame=() if RuntimeError in errors else (schema_name,), either=True, errors=errors,
        spoiled=f"{schema_name}: {way.label}", inputs=arguments,
    )  # fmt: skip


for _name in OPS:
    target(f"torch.ops.hgfast.{_name}", 60)(lambda draw, name=_name: _case(name, draw))
