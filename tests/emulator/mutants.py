"""Reads mutants.txt: mistakes planted in real kernels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("mutants.txt")


@dataclass(frozen=True)
class Mutant:
    """One mistake: the lines `find` of csrc/cuda/`file` become the lines `replace`."""

    name: str
    file: str
    find: tuple[str, ...]
    replace: tuple[str, ...]
    unseen: str = ""  # why nothing can see it, where nothing can

    def apply(self, text: str) -> str:
        """The file's text with the mistake.

        Raises:
            ValueError: the lines do not occur exactly once; the kernel has moved on and the table has not.
        """
        lines = text.split("\n")
        places = [i for i in range(len(lines)) if tuple(lines[i : i + len(self.find)]) == self.find]
        if len(places) != 1:
            raise ValueError(f"mutant {self.name!r}: its lines occur {len(places)} times in {self.file}")
        lines[places[0] : places[0] + len(self.find)] = self.replace
        return "\n".join(lines)


def _parse(entry: str) -> Mutant:
    title, *lines = entry.rstrip("\n").split("\n")
    name, file = re.fullmatch(r"(.+) @ (\S+)", title).groups()  # type: ignore[union-attr]
    unseen = " ".join(line[2:] for line in lines if line[:1] == "?")
    lines = [line for line in lines if line[:1] != "?"]
    find = tuple(line[2:] for line in lines if line[:1] != "+")
    return Mutant(name, file, find, tuple(line[2:] for line in lines if line[:1] != "-"), unseen)


def read_mutants(table: Path) -> list[Mutant]:
    """The mutants of a table."""
    return [_parse(entry) for entry in re.split(r"^== ", table.read_text(), flags=re.M)[1:]]


MUTANTS = read_mutants(TABLE)
