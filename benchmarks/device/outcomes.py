"""pytest plugin of the tests stage: writes each outcome as it comes, and keeps to the tests that need the device.

pytest -p benchmarks.device.outcomes --outcomes FILE [--device-only]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RUNTIME_TESTS = "test_cuda_"


def pytest_addoption(parser: pytest.Parser) -> None:
    """--outcomes FILE: one JSON line a test; --device-only: leave out what runs the same without the device."""
    parser.addoption("--outcomes", required=True)
    parser.addoption("--device-only", action="store_true")


def needs_device(item: pytest.Item, device: str) -> bool:
    """Whether a test has a parameter of the device's name (the fixture `device` or another), or is all about it."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return device in map(str, parameters.values()) or item.path.name.startswith(RUNTIME_TESTS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that need the device."""
    if not config.getoption("device_only"):
        return
    wanted = [item for item in items if needs_device(item, config.getoption("--device"))]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


def explanation(longrepr: Any) -> str:
    """The reason of a skip, the message of a failure, in one line."""
    if isinstance(longrepr, tuple):
        return str(longrepr[2])
    crash = getattr(longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(longrepr)
    return " ".join(text.split())


class Writer:
    """Appends outcomes to a file."""

    def __init__(self, path: Path) -> None:
        """path: the file."""
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's call, or a set-up or tear-down that did not pass."""
        if report.when != "call" and report.passed:
            return
        self.write(report.nodeid, report.outcome, "" if report.passed else explanation(report.longrepr))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected counts as a failure."""
        if report.failed:
            self.write(report.nodeid, "failed", explanation(report.longrepr))

    def write(self, test: str, outcome: str, message: str) -> None:
        """One line."""
        with self.path.open("a") as file:
            file.write(json.dumps({"test": test, "outcome": outcome, "message": message[:300]}) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Start writing."""
    config.pluginmanager.register(Writer(Path(config.getoption("outcomes"))))
