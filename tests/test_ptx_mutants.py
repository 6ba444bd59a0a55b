"""Mistakes in the text of PTX wrappers: the table of them. That they are found is nightly's to show: nvcc is slow.

What the interpreter finds in PTX that is given to it as text is in tests/test_ptx_interpreter.py.
"""

from __future__ import annotations

from tests.emulator.build import ROOT
from tests.ptx.mutate import MUTANTS, USERS


def test_table_fits_the_wrappers() -> None:
    """Every mistake can still be planted and changes something; each file of wrappers has some."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 50
    for mutant in MUTANTS:
        text = (ROOT / "csrc" / "cuda" / mutant.file).read_text()
        assert mutant.apply(text) != text
    wrappers = {f"ptx/{path.name}" for path in (ROOT / "csrc" / "cuda" / "ptx").glob("*.cuh")}
    assert {mutant.file for mutant in MUTANTS} == wrappers == set(USERS)
