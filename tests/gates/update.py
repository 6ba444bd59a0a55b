"""Writes resources.json, what the kernels use now: `python -m tests.gates.update`, then look at the difference."""

from __future__ import annotations

import json
from pathlib import Path

from tests.gates.compile import ARCHS, compile_all, kernels
from tests.gates.sources import SOURCES

TABLE = Path(__file__).with_name("resources.json")
Resources = dict[str, dict[str, int]]  # architecture -> registers, shared, stack, spill


def measured() -> dict[str, Resources]:
    """For each kernel and architecture the most that any instantiation uses."""
    found: dict[str, Resources] = {}
    for source in SOURCES:
        for arch in ARCHS:
            for kernel in kernels(source, arch):
                row = found.setdefault(f"{source}: {kernel.name}", {}).setdefault(arch, {})
                for field in ("registers", "shared", "stack", "spill"):
                    row[field] = max(row.get(field, 0), getattr(kernel, field))
    return found


def load() -> dict[str, Resources]:
    """The table."""
    return json.loads(TABLE.read_text())


def main() -> None:
    """Compile and write."""
    if error := compile_all():
        raise SystemExit(error)
    lines = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(measured().items())]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
