"""The loop in which a kernel moves its data, read off its machine code: how many instructions it takes, for what."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.gates.in_flight import INSTRUCTION, WIDE_LOAD

PLACE = re.compile(r"/\*([0-9a-f]{4,})\*/\s")
WIDE_STORE = re.compile(r"STG\.E\S*\.128")


@dataclass(frozen=True)
class Loop:
    """From the target of a jump back to that jump."""

    instructions: int
    wide_loads: int
    wide_stores: int


def bodies(code: str) -> list[list[str]]:
    """The instructions' names of each loop of a kernel. Code that a loop jumps over is part of it, and counts."""
    lines = []  # address, name, operands
    for line in code.splitlines():
        place, found = PLACE.search(line), INSTRUCTION.search(line)
        if place and found:
            lines.append((int(place.group(1), 16), *found.groups()))
    result = []
    for address, name, operands in lines:
        target = re.search(r"\b0x([0-9a-f]+)$", operands.strip()) if name == "BRA" else None
        if target is not None and int(target.group(1), 16) < address:
            result.append([name for place, name, _ in lines if int(target.group(1), 16) <= place <= address])
    return result


def loops(code: str) -> list[Loop]:
    """All loops of a kernel that load or store 16 bytes at a time."""
    result = []
    for body in bodies(code):
        wide = [sum(bool(kind.fullmatch(name)) for name in body) for kind in (WIDE_LOAD, WIDE_STORE)]
        if any(wide):
            result.append(Loop(len(body), *wide))
    return result


def hot_loop(code: str) -> Loop:
    """The shortest of the loops that store most at a time."""
    found = loops(code)
    most = max(loop.wide_stores for loop in found)
    return min((loop for loop in found if loop.wide_stores == most), key=lambda loop: loop.instructions)
