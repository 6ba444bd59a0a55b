"""What every stage is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.device import process
from benchmarks.device.budget import Deadline
from benchmarks.device.client import Client
from benchmarks.device.record import Record


@dataclass
class Context:
    """The run so far.

    Attributes:
        device: "cuda" or "cpu".
        filter: only ops, test files and cases whose name contains one of these, separated by commas.
        deadline: of the current stage.
        site: folder of the hgfast that the build stage installed, if it did.
    """

    device: str
    filter: str
    record: Record
    log: process.Log
    client: Client
    deadline: Deadline
    site: Path | None = None
    unfinished: list[str] = field(default_factory=list)

    def environment(self, **extra: str) -> dict[str, str]:
        """Variables for the processes of a stage."""
        return process.environment(self.site, **extra)

    def chosen(self, name: str) -> bool:
        """Whether the filter lets a name through."""
        return any(part in name for part in self.filter.split(","))

    def use_site(self, site: Path) -> None:
        """From now on processes use the hgfast in this folder."""
        self.site = site
        self.client.close()
        self.client.env = self.environment()

    def set(self, key: str, value: Any) -> None:
        """Put something into the record and write it."""
        self.record.data[key] = value
        self.record.save()

    def say(self, text: str) -> None:
        """One line for whoever watches, and for the log."""
        print(text, flush=True)
        self.log.write([text])


class StageError(Exception):
    """A stage could not do its work; the run goes on with the next one."""


class StageAbsent(Exception):
    """What a stage needs is not on this machine."""
