"""Mistakes in the text of PTX wrappers: one is built and must be found; the whole table is a separate command."""

from __future__ import annotations

import pytest

from tests.emulator.build import ROOT, NoToolkit
from tests.ptx.build import nvcc
from tests.ptx.mutate import MUTANTS, USERS, try_mutant

SAMPLE = "mma: registers of B exchanged"


def test_table_fits_the_wrappers() -> None:
    """Every mistake can still be planted and changes something; each file of wrappers has some."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 50
    for mutant in MUTANTS:
        text = (ROOT / "csrc" / "cuda" / mutant.file).read_text()
        assert mutant.apply(text) != text
    wrappers = {f"ptx/{path.name}" for path in (ROOT / "csrc" / "cuda" / "ptx").glob("*.cuh")}
    assert {mutant.file for mutant in MUTANTS} == wrappers == set(USERS)


def test_sample_is_found() -> None:
    try:
        nvcc()
    except NoToolkit as error:
        pytest.skip(str(error))
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == SAMPLE]
    outcome = try_mutant(mutant)
    assert outcome.verdict == "values", outcome
