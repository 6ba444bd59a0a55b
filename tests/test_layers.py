"""Imports and includes go down the floors of docs/architecture.md, so that there are no circles."""

from __future__ import annotations

from collections.abc import Iterable

from tests.layers import ROOT, Arrow, floors, late_arrows, native_arrows, python_arrows

PUBLIC = {"__version__", "build_info"}  # what hgfast/__init__.py gives


def upward(arrows: Iterable[Arrow], name: str) -> set[Arrow]:
    level = {part: number for number, parts in enumerate(floors(name)) for part in parts}
    return {arrow for arrow in arrows if level[arrow.part] >= level[arrow.used]}


def test_every_part_has_a_floor() -> None:
    parts = {path.name.removesuffix(".py") for path in (ROOT / "hgfast").iterdir() if path.suffix in ("", ".py")}
    listed = [part for floor in floors("python") for part in floor]
    assert sorted(listed) == sorted(parts - {"__init__", "__pycache__"})


def test_python_imports_go_down() -> None:
    arrows = {arrow for arrow in python_arrows() if arrow.used not in PUBLIC}
    found = upward(arrows, "python")
    assert {arrow for arrow in found if not arrow.late} == set()
    assert {(arrow.part, arrow.used) for arrow in found} == late_arrows()


def test_includes_go_down() -> None:
    assert upward(set(native_arrows()), "csrc") == set()


def test_the_rule_can_be_broken() -> None:
    assert upward({Arrow("ops", "nn", False)}, "python") and upward({Arrow("common", "cpu", False)}, "csrc")
