"""A minute of the fuzz suite: all targets, with as many cases as each of them declares, the same at every run."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ahead import Ahead
from tests.fuzz.cases import GOALS, TARGETS, Case, Target
from tests.fuzz.draw import Draw
from tests.fuzz.judge import NOT_COUNTED, judge, start_of_peak
from tests.fuzz.record import Record
from tests.fuzz.run import ROOT, Results, batches, run

SEED = 0
UNNAMED = 0.001  # share of bad inputs whose refusal may be of another type, or not name the argument


def _all_targets() -> Results:
    importlib.import_module("tests.fuzz.targets")
    return run(batches({name: TARGETS[name].cases for name in TARGETS}), SEED, jobs=1)


AHEAD = Ahead(_all_targets)


@pytest.fixture(scope="module")
def results() -> Results:
    return AHEAD.result()


def test_nothing_fails(results: Results) -> None:
    known = results.total("unclear", "unnamed") <= UNNAMED * results.total("bad")
    failures = [f for f in results.failures.values() if not (known and f.verdict in ("unclear", "unnamed"))]
    assert not failures, "\n".join(map(str, failures))


def test_all_cases_are_run(results: Results) -> None:
    assert {name: counts["cases"] for name, counts in results.counts.items()} == {
        name: TARGETS[name].cases for name in results.counts
    }
    assert results.total("bad") > 0.4 * results.total("cases") > 4000
    assert {TARGETS[name].group for name in results.counts} == set(GOALS)


def _case(**changes: Any) -> Callable[[Draw], Case]:
    return lambda draw: Case(**{"run": lambda: None, "blame": ("size",), "spoiled": "size: None", **changes})


def _raises(error: Exception) -> Callable[[], Any]:
    def run() -> None:
        raise error

    return run


VERDICTS: dict[str, tuple[str, dict[str, Any]]] = {
    "taken": ("wrong", {}),
    "taken rightly": ("ok", {"either": True}),
    "named": ("ok", {"run": _raises(ValueError("size must be 1"))}),
    "unnamed": ("unnamed", {"run": _raises(ValueError("input_size must be 1"))}),
    "of another type": ("unclear", {"run": _raises(KeyError("size"))}),
    "a good one refused": ("refused-valid", {"run": _raises(ValueError("size")), "blame": None}),
    "a good one, wrong": ("wrong", {"check": lambda result: "differs", "blame": None}),
    "a good one": ("ok", {"blame": None}),
    "a faulty suite": ("broken", {"check": lambda result: 1 / 0, "blame": None}),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, changes = VERDICTS[name]
    monkeypatch.setitem(TARGETS, "one", Target("one", _case(**changes), 1, "function", ()))
    assert judge("one", 0, 0).verdict == verdict


CHILDREN = """
import os, sys
from tests.fuzz import server
from tests.fuzz.cases import Case, target

server.CPU_SECONDS = 0.5
deeds = [lambda: 0, os.abort, lambda: [None for _ in iter(int, 1)], lambda: 0]
target("deeds")(lambda draw: Case(deeds[draw.index]))
index = 0
while index < 4:
    index = server._run_child({"target": "deeds", "seed": 0, "start": 0, "stop": 4}, index, sys.stdout)
"""


def test_what_ends_a_process_is_put_down_to_its_case() -> None:
    lines = subprocess.check_output([sys.executable, "-c", CHILDREN], cwd=ROOT, text=True).splitlines()
    assert [(a["index"], a["verdict"]) for a in map(json.loads, lines)] == [
        (0, "ok"), (1, "crash"), (2, "hang"), (3, "ok"),
    ]  # fmt: skip


MEMORY = """
from tests.fuzz import judge
from tests.fuzz.cases import Case, target

for megabytes in (30, 300):
    target(f"takes {megabytes}")(lambda draw: Case(lambda: len(b"x" * (megabytes << 20))))
    print(judge.judge(f"takes {megabytes}", 0, 0).verdict)
"""


def test_much_memory_is_found() -> None:
    """In a process of its own: where much lies about that a collection may free meanwhile, no peak is seen."""
    if start_of_peak() == NOT_COUNTED:
        pytest.skip("this kernel does not count the peak of a process anew")
    assert subprocess.check_output([sys.executable, "-c", MEMORY], cwd=ROOT, text=True).split() == ["ok", "memory"]


def test_runs_add_up(tmp_path: Path) -> None:
    path = tmp_path / "record.md"
    path.write_text("before\n<!-- fuzz counts -->\n<!-- /fuzz counts -->\nafter\n")
    for seed, verdict in ((1, "ok"), (2, "wrong")):
        record, results = Record(path, seed, 0), Results()
        for index in range(3):
            results.add("ops.a", seed, {"index": index, "verdict": verdict, "bad": index > 0, "place": "", "text": ""})
            record.write(results)
    text = path.read_text()
    assert text.startswith("before\n<!--") and text.endswith("-->\nafter\n")
    assert "| `ops.a` | 6 | 4 | 0 | 0 | 0 | 0 | 3 | 0 | 0 | 0 |" in text
    assert "seed 1 from case 0 on: 3 cases, 0 failures" in text and "seed 2 from case 0 on: 3 cases, 3 wrong" in text
    with pytest.raises(ValueError, match="seed 2 from case 0 on"):
        Record(path, 2, 0)
