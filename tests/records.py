"""Records of long runs that passed, each with a digest of all that it depends on: CI runs only what has changed."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the files' names and contents."""
    lines = (f"{path.relative_to(ROOT).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def has_passed(record: Path, now: str) -> bool:
    """Whether the record is of the digest `now`; says so."""
    passed = record.exists() and record.read_text().split()[:1] == [now]
    if passed:
        print(f"these sources have passed: {record.relative_to(ROOT)}")
    return passed


def run_recorded(record: Path, now: str, arguments: list[str], run: Callable[[list[str]], int]) -> int:
    """The exit status of run(arguments); a run without arguments, of everything, is recorded where it passes.

    `--if-new` alone is such a run, unless the record is of the digest `now` already.
    """
    if arguments == ["--if-new"]:
        if has_passed(record, now):
            return 0
        arguments = []
    status = run(arguments)
    if not status and not arguments:
        write(record, now)
    return status


def write(record: Path, now: str) -> None:
    """To be committed with the sources that passed."""
    record.write_text(f"{now}\npassed {time.strftime('%Y-%m-%d')} on {platform.platform()}\n")
