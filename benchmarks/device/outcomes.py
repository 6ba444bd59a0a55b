"""pytest plugin of the tests stage: writes each outcome as it comes, and keeps to the tests that need the device.

pytest -p benchmarks.device.outcomes --outcomes FILE [--device-only]
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

KEYS = ("outcomes", "device_only")
RUNTIME_TESTS = "test_cuda_"


def pytest_addoption(parser: pytest.Parser) -> None:
    """--outcomes FILE: one JSON line a test; --device-only: leave out what runs the same without the device."""
    parser.addoption("--outcomes", required=True)
    parser.addoption("--device-only", action="store_true")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests with the `device` fixture, and all of test_cuda_*.py."""
    if not config.getoption("device_only"):
        return
    wanted = [
        item
        for item in items
        if "device" in getattr(item, "fixturenames", ()) or item.path.name.startswith(RUNTIME_TESTS)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


class Writer:
    """Appends outcomes to a file."""

    def __init__(self, path: Path) -> None:
        """path: the file."""
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's call, or a set-up or tear-down that did not pass."""
        if report.when != "call" and report.passed:
            return
        message = report.longreprtext.strip().splitlines()[-1:] if report.failed else []
        reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
        with self.path.open("a") as file:
            entry = {"test": report.nodeid, "outcome": report.outcome, "message": "".join(message)[:300] or reason}
            file.write(json.dumps(entry) + "\n")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected counts as a failure."""
        if report.failed:
            message = str(report.longrepr).strip().splitlines()[-1:]
            with self.path.open("a") as file:
                entry = {"test": report.nodeid, "outcome": "failed", "message": "".join(message)[:300]}
                file.write(json.dumps(entry) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Start writing."""
    config.pluginmanager.register(Writer(Path(config.getoption("outcomes"))))
