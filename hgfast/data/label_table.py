"""Tables of labels with three or four header rows, as DeepLabCut and Lightning Pose keep them: one row a picture."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hgfast.data.fields import LIMIT, AnnotationError

_HEADERS = (("scorer", "bodyparts", "coords"), ("scorer", "individuals", "bodyparts", "coords"))
_PLACES = ("x", "y")
Key = tuple[str, str]  # individual ("" where there is only one) and body part


@dataclass(frozen=True)
class LabelTable:
    """A file of labels.

    Attributes:
        path: of the file.
        parts: which individuals and body parts there are, in the file's order.
        points: (N, P, 2) float64 pixels of these, NaN where not labelled.
        pictures: N names of pictures, parts joined by "/".
        rows: N numbers of the file's rows, from 1.
    """

    path: Path
    parts: list[Key]
    points: np.ndarray
    pictures: list[str]
    rows: list[int]

    @property
    def names(self) -> list[str]:
        """The body parts, each once."""
        return list(dict.fromkeys(part for _, part in self.parts))

    @property
    def individuals(self) -> list[str]:
        """The individuals, each once."""
        return list(dict.fromkeys(individual for individual, _ in self.parts))

    def points_of(self, row: int, individual: str, names: tuple[str, ...]) -> np.ndarray:
        """(K, 2) points of one individual in one row, NaN where the table does not have them."""
        places = {part: place for place, (who, part) in enumerate(self.parts) if who == individual}
        found = np.full((len(names), 2), np.nan)
        for joint, name in enumerate(names):
            if name in places:
                found[joint] = self.points[row, places[name]]
        return found


def read_csv(path: Path) -> LabelTable:
    """Read a table in CSV.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: no such header, a body part that comes twice or lacks its x or y, a cell that is no number.
    """
    lines = _lines(path)
    header = next((names for names in _HEADERS if tuple(line[0] for line in lines[: len(names)]) == names), ())
    if not header:
        first = [line[0] for line in lines[:4]]
        raise AnnotationError(
            f"{path}: rows 1 to 4: expected a first column of scorer, (individuals,) bodyparts, coords; got {first}"
        )
    titles = dict(zip(header, lines, strict=False))
    start = next((i for i, place in enumerate(titles["coords"]) if place in (*_PLACES, "likelihood")), 0)
    columns = [
        (_cell(titles.get("individuals", []), i), _cell(titles["bodyparts"], i), _cell(titles["coords"], i))
        for i in range(start, len(titles["coords"]))
    ]
    places = column_places(columns, f"{path}: rows {len(header) - 1} and {len(header)}")
    cells = [(number, line) for number, line in enumerate(lines[len(header) :], len(header) + 1) if any(line)]
    points = [[_point(path, number, line, part, xy, start) for part, xy in places.items()] for number, line in cells]
    return LabelTable(
        path,
        list(places),
        np.array(points, np.float64).reshape(len(cells), len(places), 2),
        ["/".join(filter(None, line[:start])).replace("\\", "/") for _, line in cells],
        [number for number, _ in cells],
    )


def column_places(columns: list[tuple[str, str, str]], where: str) -> dict[Key, tuple[int, int]]:
    """Find x and y of each individual and body part among columns of (individual, body part, coordinate).

    Raises:
        AnnotationError: a body part that comes twice, or lacks its x or y, or none at all.
    """
    found: dict[tuple[str, str, str], int] = {}
    for i, column in enumerate(columns):
        if found.setdefault(column, i) != i:
            raise AnnotationError(f"{where}: body part {column[1]!r} comes twice with {column[2]!r}")
    places = {}
    for key in dict.fromkeys(column[:2] for column in columns):
        for place in _PLACES:
            if (*key, place) not in found:
                raise AnnotationError(f"{where}: body part {key[1]!r} has no column {place!r}")
        places[key] = (found[(*key, "x")], found[(*key, "y")])
    if not places:
        raise AnnotationError(f"{where}: expected columns called x and y, got none")
    return places


def _lines(path: Path) -> list[list[str]]:
    """Read the cells of a file, blanks around them taken off; each row has at least one."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [[cell.strip() for cell in line] or [""] for line in csv.reader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: not a table of text ({error})") from None


def _cell(line: list[str], i: int) -> str:
    return line[i] if i < len(line) else ""


def _point(path: Path, number: int, line: list[str], part: Key, xy: tuple[int, int], start: int) -> list[float]:
    values = []
    for place, i in zip(_PLACES, xy, strict=True):
        text = _cell(line, start + i)
        try:
            value = float(text or "nan")
        except ValueError:
            value = np.inf
        if abs(value) > LIMIT:
            raise AnnotationError(f"{path}: row {number}: {part[1]!r} {place}: expected a number, got {text!r:.40}")
        values.append(value)
    if np.isnan(values[0]) != np.isnan(values[1]):
        raise AnnotationError(f"{path}: row {number}: {part[1]!r} has only one of x and y")
    return values
