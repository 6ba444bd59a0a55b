"""What must hold of a graph's quantisation, beside what hgfast.frozen.check asks of the graph."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hgfast import _checks as checks
from hgfast.frozen.codes import LARGEST_CODE, Codes, Quantisation
from hgfast.frozen.graph import ConvCall, Graph, Value
from hgfast.frozen.quantise_convs import is_possible

SMALLEST_SCALE, LARGEST_SCALE = 1e-30, 1e30  # with room for products of two in float32


def check_quantisation(graph: Graph, made: Collection[Value]) -> None:
    """Check a graph that is sound; made: the values of its inputs and of the calls of kernels.

    Raises:
        TypeError, ValueError: something else; the message says where and what.
    """
    quantisation = graph.quantisation
    if quantisation is None:
        return
    checks.instance("", "quantisation", quantisation, Quantisation)
    for name, kind in (("codes", dict), ("convs", set), ("trunk", set)):
        checks.instance("", f"quantisation.{name}", getattr(quantisation, name), kind)
    for value, codes in quantisation.codes.items():
        _check_value(f"quantisation.codes[{value!r}]", value, made)
        _check_codes(f"quantisation.codes[{value}]", codes)
    for value in quantisation.trunk:
        _check_coded(f"quantisation.trunk: {value!r}", value, quantisation)
    by_output = {call.output: call for call in graph.calls if isinstance(call, ConvCall)}
    for value in quantisation.convs:
        _check_coded(f"quantisation.convs: {value!r}", value, quantisation)
        if value not in by_output or not is_possible(graph, by_output[value]):
            raise ValueError(f"quantisation.convs: {value} must be made by a convolution that int8 has kernels for")
        _check_inputs(by_output[value], quantisation)


def _check_value(where: str, value: Any, made: Collection[Value]) -> None:
    checks.integer("", where, value, 0)
    if value not in made:
        raise ValueError(f"{where} must be of a value that kernels read or make")


def _check_codes(where: str, codes: Any) -> None:
    checks.instance("", where, codes, Codes)
    checks.instance("", f"{where}.scale", codes.scale, float)
    if not SMALLEST_SCALE <= codes.scale <= LARGEST_SCALE:
        raise ValueError(f"{where}.scale must be from {SMALLEST_SCALE} to {LARGEST_SCALE}, got {codes.scale}")
    checks.integer("", f"{where}.zero", codes.zero, 0, LARGEST_CODE)


def _check_coded(where: str, value: Any, quantisation: Quantisation) -> None:
    checks.integer("", where, value, 0)
    if value not in quantisation.codes:
        raise ValueError(f"{where} must be a value that has codes")


def _check_inputs(call: ConvCall, quantisation: Quantisation) -> None:
    second = [] if call.second is None else [call.second.value]
    for value in (call.x, *([call.extra.value] if call.extra else []), *second):
        _check_coded(f"quantisation: {call.name} and value {value}, which", value, quantisation)
