"""Which pictures are trained on, which validate, and which are kept for the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hgfast import _checks
from hgfast.data.fields import AnnotationError, read_json
from hgfast.data.person import Person

PARTS = ("train", "val", "test")


def split_by_shares(persons: Sequence[Person], val: float, test: float, seed: int) -> dict[str, list[Person]]:
    """Draw the persons of each part picture by picture; those of one picture stay together.

    The draw depends on the pictures' names and the seed alone, not on their order in the file.

    Args:
        persons: all of them.
        val: share of the pictures to validate with; 0 for none, otherwise at least one picture is taken.
        test: share of the pictures to test with, likewise.
        seed: of the draw.

    Raises:
        ValueError: shares that leave nothing to train on, or too few pictures for all parts.
    """
    val, test = (_checks.number("", name, share, 0, 1) for name, share in (("val_share", val), ("test_share", test)))
    seed = _checks.integer("", "split_seed", seed, 0)
    pictures = sorted({str(person.image) for person in persons})
    counts = {
        name: max(1, round(share * len(pictures))) if share else 0 for name, share in (("test", test), ("val", val))
    }
    if len(pictures) <= sum(counts.values()):
        raise ValueError(
            f"{len(pictures)} pictures cannot be split into those to train on, {counts['val']} to validate with "
            f"(val_share {val:g}) and {counts['test']} to test with (test_share {test:g})"
        )
    order = [pictures[i] for i in np.random.default_rng(seed).permutation(len(pictures))]
    part_of = dict.fromkeys(order, "train")
    part_of |= dict.fromkeys(order[: counts["test"]], "test")
    part_of |= dict.fromkeys(order[counts["test"] : counts["test"] + counts["val"]], "val")
    return {part: [person for person in persons if part_of[str(person.image)] == part] for part in PARTS}


def split_by_list(persons: Sequence[Person], path: str | Path) -> dict[str, list[Person]]:
    """Split as a file lists pictures: JSON ``{"train": ["a.png", ...], "val": [...], "test": [...]}``.

    A picture is called by the end of its path, long enough to be the only one. Pictures in no list are left out.

    Args:
        persons: all of them.
        path: the file.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not such a file, a name of no picture, of several, or in two lists.
    """
    path = _checks.path("", "split", path)
    content = read_json(path)
    if not isinstance(content, dict) or not content.get("train") or not set(content) <= set(PARTS):
        raise AnnotationError(
            f"{path}: expected lists of pictures called train, val and test, with pictures to train on"
        )
    ends = ends_of(persons)
    part_of: dict[str, str] = {}
    for part, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise AnnotationError(f"{path}: field {part!r} is not a list of texts")
        for i, name in enumerate(names):
            found = ends.get(tuple(Path(name).parts), set())
            if len(found) != 1:
                raise AnnotationError(
                    f"{path}: {part}[{i}]: {name!r} is the name of {len(found) or 'none'} of the pictures"
                )
            picture = next(iter(found))
            if part_of.setdefault(picture, part) != part:
                raise AnnotationError(f"{path}: {part}[{i}]: {name!r} stands in {part_of[picture]!r}, too")
    return {part: [person for person in persons if part_of.get(str(person.image)) == part] for part in PARTS}


def ends_of(persons: Sequence[Person]) -> dict[tuple[str, ...], set[str]]:
    """Return the pictures that each end of a path leads to."""
    ends: dict[tuple[str, ...], set[str]] = {}
    for picture in dict.fromkeys(person.image for person in persons):
        parts = picture.parts
        for start in range(len(parts)):
            ends.setdefault(parts[start:], set()).add(str(picture))
    return ends
