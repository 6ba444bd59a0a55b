"""Runs on record: what passed is not run again, and nothing else counts as passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import records


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(records, "ROOT", tmp_path)
    return tmp_path / "passed.txt"


def test_only_whole_runs_that_passed_count(record: Path) -> None:
    ran: list[list[str]] = []

    def run(arguments: list[str], status: int = 0) -> int:
        ran.append(arguments)
        return status

    assert records.run_recorded(record, "a", ["-k", "x"], run) == 0 and not record.exists()
    assert (
        records.run_recorded(record, "a", ["--if-new"], lambda arguments: run(arguments, 3)) == 3
        and not record.exists()
    )
    assert records.run_recorded(record, "a", ["--if-new"], run) == 0 and record.read_text().startswith("a\npassed 20")
    assert records.run_recorded(record, "a", ["--if-new"], run) == 0 and ran == [["-k", "x"], [], []]
    assert records.run_recorded(record, "b", ["--if-new"], run) == 0 and record.read_text().startswith("b\n")
    assert records.run_recorded(record, "b", [], run) == 0 and ran[3:] == [[], []]


def test_the_digest_sees_names_and_contents(record: Path) -> None:
    one, other = record.parent / "one", record.parent / "other"
    one.write_text("1")
    before = records.digest([one])
    one.write_text("2")
    assert records.digest([one]) != before
    other.write_text("2")
    assert records.digest([one]) != records.digest([other]) != records.digest([one, other])
    assert records.digest([other, one]) == records.digest([one, other])
