"""`python -m benchmarks.device` on a card where something goes wrong: no answers, no time, no worker, no build."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.device import __main__ as command
from benchmarks.device import benching, checks, measure, outcomes, process, record, sanitizer, testing, worker
from benchmarks.device.__main__ import Stage
from benchmarks.device.budget import Deadline
from benchmarks.device.client import Client, Outcome
from benchmarks.device.context import Context, StageError
from benchmarks.device.machine import describe
from tests.fake_cuda.machine import Machine
from tests.test_device_cuda import CASES, InProcess, cases, context, no_compiler, quick  # noqa: F401

STAGES: dict[str, Callable[[Context], None]] = {
    "bench": partial(benching.run_cases, stage="bench"),
    "ceilings": checks.ceilings,
    "ops": checks.ops,
    "layers": partial(checks.check_networks, stage="layers"),
    "sanitizer": sanitizer.sanitizer,
}


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("cases")
    monkeypatch.setattr(process, "find_tool", lambda name: name)


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Context:
    return request.getfixturevalue("context")


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_that_does_not_answer(gpu: Machine, run: Context, stage: str, monkeypatch) -> None:
    monkeypatch.setattr(InProcess, "call", lambda *args, **options: Outcome("error", note="not there"))
    with pytest.raises(StageError, match="not there"):
        STAGES[stage](run)


@pytest.mark.parametrize("stage", ["bench", "ops", "layers"])
def test_no_time_is_left(gpu: Machine, run: Context, stage: str) -> None:
    run.deadline = Deadline.after(0)
    STAGES[stage](run)
    assert run.unfinished
    assert testing.run_file(run, Path("test_x.py"), Path()) == (testing.OUT_OF_TIME, [])


def test_a_case_that_fails(gpu: Machine, run: Context, monkeypatch) -> None:
    answer = InProcess.call

    def call(self: InProcess, job: str, *args: Any, **options: Any) -> Outcome:
        return Outcome("crashed", note="exit status 3") if job == "bench" else answer(self, job, *args, **options)

    monkeypatch.setattr(InProcess, "call", call)
    with pytest.raises(StageError, match="crashed"):
        STAGES["bench"](run)
    assert run.record.data["bench"][0]["peers"]["hgfast"] == {"status": "crashed", "note": "exit status 3"}


def test_a_bench_file_that_cannot_be_imported(gpu: Machine, run: Context, monkeypatch) -> None:
    def load(file: str) -> dict[str, Any]:
        raise ImportError("no peer")

    monkeypatch.setattr(measure, "load_cases", load)
    with pytest.raises(StageError, match="bench_work: ImportError: no peer"):
        STAGES["bench"](run)


def test_cases_of_the_cpu(gpu: Machine, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("no_compiler")
    emitted: list[Any] = []
    measure.measure_case("cpu", emitted.append, "bench_work", "work/8", ["hgfast"], 0.01)
    assert "clock" in emitted[-1]["hgfast"] and not gpu.log


def test_a_sanitizer_that_does_not_start(gpu: Machine, run: Context, monkeypatch) -> None:
    monkeypatch.setattr(process, "run", lambda *args: process.Finished("failed", 1, "no such driver"))
    with pytest.raises(StageError, match="memcheck did not start: no such driver"):
        STAGES["sanitizer"](run)
    found, running = sanitizer.parse("@@ begin x\n@@ failed x\n")
    assert found["x"]["findings"] == ["the call raised an exception"] and running is None


def test_without_a_build_only_the_ceilings_are_measured(gpu: Machine, run: Context) -> None:
    def fails(run: Context) -> None:
        raise StageError("no nvcc")

    ran: list[str] = []
    stages = [Stage("build", fails, 1), *(Stage(n, lambda run, n=n: ran.append(n), 1) for n in ("ceilings", "ops"))]
    assert not command.run_stages(run, stages, Deadline.after(10)) and ran == ["ceilings"]


def test_a_worker_that_does_not_start(gpu: Machine, tmp_path: Path, monkeypatch) -> None:
    log = process.Log(tmp_path / "log")
    monkeypatch.setattr(process, "python", lambda *arguments: ["false"])
    client = Client("cuda", process.environment(), log)
    assert client.call("machine", 5.0).status == "crashed"
    log.close()


def test_no_card(gpu: Machine, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="torch finds no CUDA device"):
        describe("cuda")
    assert set(CASES) == {"work/8", "lost/8"}


def test_what_tests_did_is_written_down(gpu: Machine, tmp_path: Path) -> None:
    writer = outcomes.Writer(tmp_path / "outcomes")
    crash = types.SimpleNamespace(reprcrash=types.SimpleNamespace(message="assert 1\n  == 2"))
    for when, passed, longrepr in (("setup", True, None), ("call", True, None), ("call", False, crash)):
        report = types.SimpleNamespace(
            when=when, passed=passed, failed=not passed, nodeid="a", outcome=str(passed), longrepr=longrepr
        )
        writer.pytest_runtest_logreport(report)  # type: ignore[arg-type]
    writer.pytest_collectreport(types.SimpleNamespace(failed=True, nodeid="b", longrepr="no module"))  # type: ignore
    found = [json.loads(line) for line in (tmp_path / "outcomes").read_text().splitlines()]
    assert [entry["message"] for entry in found] == ["", "assert 1 == 2", "no module"]
    assert outcomes.explanation(("file", 3, "no picture")) == "no picture"


def test_only_tests_of_the_device_are_run(gpu: Machine) -> None:
    gone: list[list[Any]] = []
    here, there = (
        types.SimpleNamespace(callspec=types.SimpleNamespace(params={"device": device}), path=Path("test_x.py"))
        for device in ("cuda", "cpu")
    )
    for device_only, kept in ((False, [here, there]), (True, [here])):
        options = {"device_only": device_only, "--device": "cuda"}
        hook = types.SimpleNamespace(pytest_deselected=lambda items: gone.append(items))
        items = [here, there]
        outcomes.pytest_collection_modifyitems(types.SimpleNamespace(getoption=options.get, hook=hook), items)
        assert items == kept
    assert gone == [[there]]


def test_a_checkout_that_travels_without_git(gpu: Machine, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HGFAST_COMMIT", "abc")
    assert record.code_version()["commit"] == "abc"


def test_a_worker_of_the_cpu_loses_no_context(gpu: Machine) -> None:
    assert not worker.context_is_lost("cpu")


def test_a_worker_that_dies_before_it_is_asked(gpu: Machine, tmp_path: Path, monkeypatch) -> None:
    ready = f"import os; print(); print('{worker.MARK}{{\"ready\": true}}', flush=True); os.close(0); os.read(3, 1)"
    monkeypatch.setattr(process, "python", lambda *arguments: [sys.executable, "-c", ready])
    log = process.Log(tmp_path / "log")
    client = Client("cuda", process.environment(), log)
    assert client.call("machine", 20.0).status == "crashed"
    log.close()
