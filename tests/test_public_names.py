"""What users may import, and how it is called, changes only on purpose."""

from __future__ import annotations

from tests.public_names import RECORD, public_names


def test_public_names_are_those_on_record() -> None:
    recorded = RECORD.read_text().splitlines()
    assert public_names() == recorded, "if that is meant: python -m tests.public_names, and a line in CHANGELOG.md"
