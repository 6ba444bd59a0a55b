"""Which parts of hgfast and of csrc may use which: read from docs/architecture.md, and from the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
COMPAT = ("compat.cuh", "launch.cuh", "device.cuh", "errors.cuh", "shared_memory.cuh", "wait_fault.cuh")


class Arrow(NamedTuple):
    """A part uses another one; late: only when a function is called."""

    part: str
    used: str
    late: bool


def floors(name: str) -> list[set[str]]:
    """The parts on each line of a block of the page, the top one first."""
    (block,) = re.findall(rf"```text {name}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [set(line.split()) for line in block.splitlines()]


def late_arrows() -> set[tuple[str, str]]:
    """The upward imports that the page's table names, each with its reason."""
    return {(part, used) for part, used in re.findall(r"^\| `(\w+)` \| `(\w+)` \| \S", PAGE.read_text(), re.MULTILINE)}


def python_arrows() -> Iterator[Arrow]:
    """All imports between packages and single modules of hgfast; those for type checkers alone do not count."""
    for path in sorted((ROOT / "hgfast").rglob("*.py")):
        part = path.relative_to(ROOT / "hgfast").parts[0].removesuffix(".py")
        if part != "__init__":
            for used, late in _imports(ast.parse(path.read_text()), False):
                if used != part:
                    yield Arrow(part, used, late)


def _imports(node: ast.AST, late: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        names: list[str] = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            module = child.module or ""
            names = [module] if module != "hgfast" else [f"hgfast.{alias.name}" for alias in child.names]
        yield from ((name.split(".")[1], late) for name in names if name.startswith("hgfast."))
        yield from _imports(child, late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def native_arrows() -> Iterator[Arrow]:
    """All includes between folders of csrc."""
    for path in sorted((ROOT / "csrc").rglob("*.*")):
        if path.suffix in (".h", ".cpp", ".cuh", ".cu"):
            part = _folder(path.relative_to(ROOT / "csrc").as_posix())
            for header in re.findall(r'#include "([^"]+/[^"]+)"', path.read_text()):
                if _folder(header) not in (part, "emulator"):  # the emulator's headers stand in for CUDA's
                    yield Arrow(part, _folder(header), False)


def _folder(file: str) -> str:
    """A file's folder; what stands for CUDA itself, and headers of plain C++, are a part of their own."""
    folder, _, name = file.rpartition("/")
    return "cuda/compat" if folder == "cuda" and (name in COMPAT or name.endswith(".h")) else folder
