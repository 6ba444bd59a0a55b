"""How many loads of 16 bytes a kernel has on their way at a time, read off its machine code."""

from __future__ import annotations

import re

from tests.gates.compile import sass

INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?);")
WIDE_LOAD = re.compile(r"LDG\.E\S*\.128(?:\.CONSTANT)?")


def functions(source: str, arch: str) -> dict[str, str]:
    """The machine code of each kernel of a source, by its mangled name."""
    parts = re.split(r"Function : (\S+)", sass(source, arch))[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def wide_loads_in_flight(code: str) -> int:
    """The most loads of 16 bytes that are issued before an instruction reads what one of them brings."""
    most, coming = 0, []  # first registers of the four that each load writes
    for name, operands in INSTRUCTION.findall(code):
        registers = [int(number) for number in re.findall(r"\bR(\d+)\b", operands)]
        if WIDE_LOAD.fullmatch(name):
            target, *reads = registers
        else:
            target, reads = None, registers
        if any(first <= register < first + 4 for first in coming for register in reads):
            coming = []
        if target is not None:
            coming.append(target)
            most = max(most, len(coming))
    return most
