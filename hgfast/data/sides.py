"""Left and right in the names of joints."""

from __future__ import annotations

import re
from collections.abc import Sequence

# a word in any place, or a single letter between others than letters: "left_ear", "earLeft", "ear_L", "l.paw"
_SIDE = re.compile(r"(?P<left>left|(?<![a-z])l(?![a-z]))|(?P<right>right|(?<![a-z])r(?![a-z]))", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def side_of(name: str) -> str:
    """``"left"``, ``"right"`` or ``"middle"``: what the first word for a side in a joint's name says."""
    found = _SIDE.search(name)
    return "middle" if found is None else "left" if found["left"] else "right"


def pairs_by_name(names: Sequence[str]) -> tuple[tuple[int, int], ...] | None:
    """Index pairs of joints whose names differ only in left and right: "leftear" and "rightear", "paw_L" and "paw_R".

    Returns:
        the pairs, the smaller index first; None where there are none, or where a joint has a side but no partner: then
        nobody can tell which joint is which in a mirrored picture.
    """
    places = {name: place for place, name in enumerate(names)}
    pairs = set()
    for name, place in places.items():
        partner = places.get(_SIDE.sub(_swapped, name))
        if partner is None:
            return None
        if partner != place:
            pairs.add((min(place, partner), max(place, partner)))
    return tuple(sorted(pairs)) or None


def _swapped(found: re.Match[str]) -> str:
    word = found[0]
    other = _OTHER[word.lower()]
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
