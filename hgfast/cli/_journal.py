"""Which inputs of ``hgfast predict`` are done: a file of each process in the output folder, for ``--resume``."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

_NAME = ".predicted-{}.jsonl"
# what may be another one when a run goes on: more inputs, another machine
_FREE = ("command", "inputs", "output", "resume", "quiet", "device")


class Journal:
    """A file of JSON lines: the settings, then each input that is done, with the number of its persons.

    A line is written when all results of its input are. One that was cut off by a crash counts as not written.

    Args:
        folder: of the results.
        rank: number of this process, which has a file of its own.
        settings: of the run, see :func:`settings_of`.
    """

    def __init__(self, folder: Path, rank: int, settings: dict[str, Any]) -> None:
        self.folder, self.path, self.settings = folder, folder / _NAME.format(rank), settings

    def forget(self) -> None:
        """Remove the files of all processes: everything is to be done."""
        for path in self.folder.glob(_NAME.format("*")):
            path.unlink(missing_ok=True)

    def done(self) -> dict[str, int]:
        """Return the inputs that are done, by their full paths, and the numbers of their persons.

        Raises:
            ValueError: a run with other settings wrote into this folder; the message names them.
            OSError: a file cannot be read.
        """
        found: dict[str, int] = {}
        for path in sorted(self.folder.glob(_NAME.format("*"))):
            for entry in _entries(path):
                if "settings" in entry:
                    self._compare(path, entry["settings"])
                elif isinstance(entry.get("input"), str) and isinstance(entry.get("persons"), int):
                    found[entry["input"]] = entry["persons"]
        return found

    def begin(self) -> None:
        """Open this process's file, with the settings as its first line.

        Raises:
            OSError: it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write({"settings": self.settings})

    def add(self, path: Path, persons: int) -> None:
        """Note that an input is done.

        Raises:
            OSError: that cannot be written.
        """
        self._write({"input": os.path.abspath(path), "persons": persons})

    def _write(self, entry: dict[str, Any]) -> None:
        with self.path.open("a+b") as file:
            file.seek(max(0, file.tell() - 1))
            end = b"" if file.read() in (b"", b"\n") else b"\n"  # behind a line that was cut off
            file.write(end + json.dumps(entry).encode() + b"\n")

    def _compare(self, path: Path, before: Any) -> None:
        known = before if isinstance(before, dict) else {}
        different = [name for name, value in self.settings.items() if known.get(name) != value]
        if different:
            name = different[0].replace("_", "-")
            raise ValueError(
                f"--resume: {path} is of a run with another {name}; the same settings go on, "
                "another --output or a run without --resume begins anew"
            )


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the results depend on: the options, and the contents of the files that they name.

    Raises:
        OSError: a file cannot be read.
    """
    settings = {name: value for name, value in vars(options).items() if name not in _FREE}
    for name in ("checkpoint", "boxes", "annotations", "detector_weights"):
        if settings.get(name) and Path(settings[name]).is_file():
            settings[name] = _digest(Path(settings[name]))
    return settings


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the lines that are whole."""
    entries = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries
