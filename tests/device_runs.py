"""A run of benchmarks/device on the CPU, of which tests do a part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.device import process
from benchmarks.device.budget import Deadline
from benchmarks.device.client import Client
from benchmarks.device.context import Context
from benchmarks.device.record import Record


@contextlib.contextmanager
def cpu_run(folder: Path) -> Iterator[Context]:
    """With its log and record in a folder, of one op, with five minutes left."""
    log = process.Log(folder / "device.log")
    record = Record(folder / "out", {})
    record.name_after({"name": "Some CPU"})
    client = Client("cpu", process.environment(), log)
    yield Context("cpu", "upsample_add_out", record, log, client, Deadline.after(300))
    client.close()
    log.close()
