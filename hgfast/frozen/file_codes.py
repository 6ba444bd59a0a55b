"""A quantisation in files of frozen networks: lists of numbers, which check_graph looks at again."""

from __future__ import annotations

from typing import Any

from hgfast import _checks as checks
from hgfast.frozen.codes import Codes, Quantisation


def plain_codes(quantisation: Quantisation) -> dict[str, Any]:
    """Return the lists: of codes [value, scale, zero], of convs and trunk values."""
    codes = [[value, codes.scale, codes.zero] for value, codes in sorted(quantisation.codes.items())]
    return {"codes": codes, "convs": sorted(quantisation.convs), "trunk": sorted(quantisation.trunk)}


def codes_of(plain: Any) -> Quantisation:
    """Read what `plain_codes` made.

    Raises:
        TypeError, ValueError, KeyError: it is nothing of the kind.
    """
    checks.instance("", "quantisation", plain, dict)
    found = Quantisation()
    for index, entry in enumerate(_list(plain, "codes")):
        where = f"quantisation.codes[{index}]"
        checks.instance("", where, entry, list, tuple)
        if len(entry) != 3:
            raise ValueError(f"{where} must be [value, scale, zero], got {checks.describe(entry)}")
        value, scale, zero = entry
        if checks.integer("", where, value, 0) in found.codes:
            raise ValueError(f"{where} must be of another value than those before, got {value}")
        found.codes[value] = Codes(scale, zero)
    found.convs, found.trunk = (_values(plain, name) for name in ("convs", "trunk"))
    return found


def _list(plain: dict[str, Any], name: str) -> Any:
    checks.instance("", f"quantisation.{name}", plain[name], list, tuple)
    return plain[name]


def _values(plain: dict[str, Any], name: str) -> set[int]:
    entries = _list(plain, name)
    return {checks.integer("", f"quantisation.{name}[{i}]", value, 0) for i, value in enumerate(entries)}
