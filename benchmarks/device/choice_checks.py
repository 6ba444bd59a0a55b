"""Jobs of the stage choices: how long a plan's kernels are tried and timed before they are used, and that it is once.

Each network begins with a table of kernels that is empty, and leaves the user's own as it is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator

import torch

from benchmarks.device import network_checks
from hgfast import _kernel_table, _switches

NETWORKS = ("hourglass52", "hg2")
BATCH = 32
TRIED, TIMED, AGAIN = 0.5, 2.5, 0.1  # seconds beyond those of a plan whose kernels are neither tried nor timed


@contextlib.contextmanager
def table_in(folder: str) -> Iterator[None]:
    """Within it the tables of kernels are in a folder."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = folder
    try:
        yield
    finally:
        del os.environ["XDG_CACHE_HOME"]
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


@contextlib.contextmanager
def switched(verify: bool, tune: str) -> Iterator[None]:
    """Within it HGFAST_DISABLE names "verify", or does not, and HGFAST_TUNE is `tune`."""
    before, name = (_switches.disabled, _switches.tune), {_switches.VERIFY}
    _switches.disabled, _switches.tune = before[0] - name if verify else before[0] | name, tune
    try:
        yield
    finally:
        _switches.disabled, _switches.tune = before


def seconds_of_plan(name: str, device: str) -> float:
    """Of a new frozen network, of which nothing was planned."""
    model = network_checks.frozen(name, device)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    model.plan(BATCH, network_checks.SIDE, network_checks.SIDE)
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def check_choices(device: str, name: str) -> dict[str, str]:
    """Plans of a network: with kernels as expected, tried, timed, and once more."""
    with tempfile.TemporaryDirectory() as folder, table_in(folder), network_checks.warnings_of_hgfast() as told:
        with switched(False, "0"):
            seconds_of_plan(name, device)  # what is loaded at the first use is
            plain = seconds_of_plan(name, device)
        with switched(True, "0"):
            tried = seconds_of_plan(name, device) - plain
        with switched(True, "1"):
            timed = seconds_of_plan(name, device) - plain
            _kernel_table._tables.clear()  # as in a new process, which reads the file
            again = seconds_of_plan(name, device) - plain
    note = f"tried in {tried:.2f} s, timed in {timed:.2f} s, then {again:.2f} s; without both {plain:.2f} s"
    if told:
        return {"status": "wrong", "note": "; ".join([note, *told])[:600]}
    return {"status": "ok" if tried <= TRIED and timed <= TIMED and again <= AGAIN else "late", "note": note}
