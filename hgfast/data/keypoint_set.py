"""What the keypoints of a data set are: names, mirror pairs, limbs, tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hgfast import _checks
from hgfast.data.sides import pairs_by_name, side_of

DEFAULT_SIGMA = 0.1  # of the OKS measure where nobody has measured how well people agree: DeepLabCut's


@dataclass(frozen=True)
class KeypointSet:
    """The K keypoints of a data set.

    Attributes:
        name: short name used in configurations, for instance ``"mpii"``.
        names: K joint names, no two alike.
        pairs: index pairs that change places when a picture is mirrored; empty where all joints keep theirs. None:
            nothing is known of mirror images, so there is no flip test and no mirroring in training.
        skeleton: index pairs to be joined by a limb in drawings.
        sigmas: K per-joint standard deviations of the OKS measure (fractions of the object's size); 0.1 for all where
            none are given.
        upper: joints of the upper body, for half-body augmentation (empty where it makes no sense).
        unit: index pair whose distance is the length that PCK is measured in; None for the longer side of the box.

    Raises:
        TypeError, ValueError: fields of other types, numbers that are no joints, a name or a joint that comes twice,
            sigmas that are not positive.
    """

    name: str
    names: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...] | None = None
    skeleton: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()
    upper: tuple[int, ...] = ()
    unit: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _checks.instance("", "name", self.name, str)
        if not isinstance(self.names, (tuple, list)) or not all(isinstance(name, str) for name in self.names):
            raise TypeError(f"names must be a sequence of texts, got {_checks.describe(self.names)}")
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice or "" in self.names:
            raise ValueError(f"names must be unlike each other and not empty, got {twice[0] if twice else ''!r}")
        self._check_links()
        _checks.integers("", "upper", self.upper, None, 0, self.count - 1)
        sigmas: Sequence[float] = self.sigmas
        if isinstance(sigmas, (tuple, list)) and not sigmas:
            sigmas = (DEFAULT_SIGMA,) * self.count
        if not (_checks.array("", "sigmas", sigmas, (self.count,), finite=True) > 0).all():
            raise ValueError(f"sigmas must be positive, got {min(sigmas)}")
        object.__setattr__(self, "sigmas", sigmas)

    def _check_links(self) -> None:
        for field in ("pairs", "skeleton"):
            links = getattr(self, field)
            if field == "pairs" and links is None:
                continue
            if not isinstance(links, (tuple, list)):
                raise TypeError(f"{field} must be a sequence of pairs, got {_checks.describe(links)}")
            for i, link in enumerate(links):
                _checks.integers("", f"{field}[{i}]", link, 2, 0, self.count - 1)
        mirrored = [joint for pair in self.pairs or () for joint in pair]
        twice = [joint for joint in mirrored if mirrored.count(joint) > 1]
        if twice:
            raise ValueError(f"pairs must have each joint once, got {self.names[twice[0]]!r} twice")
        if self.unit is not None:
            first, second = _checks.integers("", "unit", self.unit, 2, 0, self.count - 1)
            if first == second:
                raise ValueError(f"unit must be two joints, got {self.names[first]!r} twice")

    @property
    def count(self) -> int:
        """Number of keypoints K."""
        return len(self.names)

    @property
    def mirrors(self) -> bool:
        """Whether it is known which joint is which in a mirrored picture."""
        return self.pairs is not None

    @cached_property
    def flip_indices(self) -> tuple[int, ...]:
        """For each joint the joint that takes its place in a mirrored picture.

        Raises:
            ValueError: nothing is known of mirror images.
        """
        if self.pairs is None:
            raise ValueError(f"keypoints {self.name!r} have no mirror pairs")
        order = list(range(self.count))
        for a, b in self.pairs:
            order[a], order[b] = b, a
        return tuple(order)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """``"left"``, ``"right"`` or ``"middle"`` for each joint (of the person, not of the picture)."""
        return tuple(side_of(name) for name in self.names)

    def to_table(self) -> dict[str, Any]:
        """Return a plain dictionary, as TOML files and checkpoints have it; joints are called by their names."""
        table: dict[str, Any] = {"name": self.name, "names": list(self.names)}
        table |= {"mirror": False} if self.pairs is None else {"pairs": self._named(self.pairs)}
        table |= {"skeleton": self._named(self.skeleton), "sigmas": list(self.sigmas)}
        if self.upper:
            table["upper"] = [self.names[joint] for joint in self.upper]
        if self.unit is not None:
            table["unit"] = [self.names[joint] for joint in self.unit]
        return table

    def _named(self, links: Sequence[tuple[int, int]]) -> list[list[str]]:
        return [[self.names[joint] for joint in link] for link in links]

    @classmethod
    def from_table(cls, table: Any, where: str = "keypoints") -> KeypointSet:
        """Make the keypoints of a dictionary such as :meth:`to_table` gives, or as people write it.

        ``names`` is all that must be there. Joints are called by name or by number (from 0). ``sigmas`` may be a single
        number for all. Without ``pairs`` they are found by the names (see :func:`hgfast.data.sides.pairs_by_name`), and
        ``mirror = false`` says that mirrored pictures are of no use.

        Args:
            table: the dictionary.
            where: how messages call it.

        Raises:
            TypeError, ValueError: unknown or missing entries, names of no joint, what :class:`KeypointSet` refuses.
        """
        if not isinstance(table, dict):
            raise TypeError(f"{where} must be a table (a dict), got {_checks.describe(table)}")
        for key in table:
            _checks.choice("", f"{where}: entry", key, _ENTRIES)
        try:
            return cls(**_fields(table))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from None


_ENTRIES = ("name", "names", "mirror", "pairs", "skeleton", "sigmas", "upper", "unit")


def _fields(table: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a :class:`KeypointSet`."""
    names = table.get("names")
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names must be a list of at least one text, got {_checks.describe(names)}")
    places = {name: place for place, name in enumerate(names)}

    def joint(field: str, value: Any) -> Any:
        if isinstance(value, str) and value not in places:
            raise ValueError(f"{field}: {value!r:.80} is none of the names")
        return places[value] if isinstance(value, str) else value

    def joints(field: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{field} must be a list of joints, got {_checks.describe(value)}")
        return tuple(joint(field, entry) for entry in value)

    def links(field: str) -> tuple[Any, ...]:
        value = table.get(field, ())
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{field} must be a list of pairs, got {_checks.describe(value)}")
        return tuple(joints(f"{field}[{i}]", link) for i, link in enumerate(value))

    mirror = _checks.flag("", "mirror", table.get("mirror", True))
    if not mirror and table.get("pairs"):
        raise ValueError("pairs must not be there with mirror = false")
    sigmas = table.get("sigmas", ())
    return {
        "name": table.get("name", "own"),
        "names": tuple(names),
        "pairs": (links("pairs") if "pairs" in table else pairs_by_name(names)) if mirror else None,
        "skeleton": links("skeleton"),
        "sigmas": tuple(sigmas) if isinstance(sigmas, (list, tuple)) else (sigmas,) * len(names),
        "upper": joints("upper", table.get("upper", ())),
        "unit": joints("unit", table["unit"]) if table.get("unit") else None,
    }
