"""Mistakes planted in the real kernels: one is built and must be found; the whole table is a separate command."""

from __future__ import annotations

import pytest

from tests.ahead import Ahead
from tests.emulator.build import ROOT, NoToolkit, toolkit_include
from tests.emulator.mutants import MUTANTS
from tests.emulator.mutate import try_mutant
from tests.gates.sources import SOURCES, pytest_arguments

SAMPLE = "block sum: no barrier before thread 0 reads"
AHEAD = Ahead(lambda: [try_mutant(mutant) for mutant in MUTANTS if mutant.name.endswith(SAMPLE)])
FOUND = "read of uninitialised shared array 'warp_sums'"


def test_table_fits_the_kernels() -> None:
    """Every mistake can still be planted, changes something, and has tests that should find it."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30
    for mutant in MUTANTS:
        text = (ROOT / "csrc" / "cuda" / mutant.file).read_text()
        assert mutant.apply(text) != text
        assert (ROOT / pytest_arguments(mutant.file)[0]).exists()


def test_every_source_with_kernels_has_mutants() -> None:
    headers = {f"{name}h" for name in SOURCES} | {name for source in SOURCES.values() for name in source.headers}
    assert {mutant.file for mutant in MUTANTS} <= headers
    assert {name for name in SOURCES if not any(m.file in (f"{name}h", name) for m in MUTANTS)} == set()


def test_sample_is_found() -> None:
    try:
        toolkit_include()
    except NoToolkit as error:
        pytest.skip(str(error))
    (outcome,) = AHEAD.result()
    assert outcome.verdict == "emulator" and FOUND in outcome.message, outcome
