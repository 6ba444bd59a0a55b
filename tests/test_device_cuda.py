"""`python -m benchmarks.device` on a card: what runs on it, with a fake one."""

from __future__ import annotations

import io
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.device import __main__ as command
from benchmarks.device import (
    benching,
    build,
    ceilings,
    measure,
    process,
    profile_one,
    sanitize_one,
    timing,
    worker,
)
from benchmarks.device.budget import Deadline
from benchmarks.device.client import Outcome
from benchmarks.device.context import Context, StageError
from benchmarks.device.jobs import JOBS
from benchmarks.device.machine import describe, query_card
from benchmarks.device.record import Record
from benchmarks.harness import Case, timed_round
from hgfast import demo
from tests.device_cases import small_networks
from tests.fake_cuda import machine as fake
from tests.fake_cuda.machine import Machine


@pytest.fixture(autouse=True)
def quick(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch takes so long that no round needs two, and what is large on a card is small."""
    monkeypatch.setattr(fake, "LAUNCH_MS", 60.0)
    monkeypatch.setattr(timing, "FLUSH_BYTES", 1024)
    monkeypatch.setattr(ceilings, "COPY_BYTES", {"cuda": 1024})
    monkeypatch.setattr(ceilings, "SIDES", {"cuda": 16})
    monkeypatch.setattr(benching, "MEASURE_SECONDS", (0.01, 0.01))


def work(device: str) -> dict[str, Callable[[], Any]]:
    x = torch.ones(8, device=device)

    def waits() -> float:
        return (x * 2).sum().item()

    def fails() -> None:
        raise ValueError("not today")

    return {"hgfast": lambda: x * 2, "waits": waits, "fails": fails, "autotune": lambda: x + 1}


def lost(device: str) -> dict[str, Callable[[], Any]]:
    def illegal() -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    return {"hgfast": illegal}


CASES = {
    "work/8": Case("work/8", ("hgfast", "waits", "fails", "autotune"), work, bytes=64),
    "lost/8": Case("lost/8", ("hgfast",), lost),
}


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "case_files", lambda: ["bench_work"])
    monkeypatch.setattr(measure, "load_cases", lambda file: CASES)
    monkeypatch.setattr(profile_one, "load_cases", lambda file: CASES)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds to import, only to forget what it has not compiled."""
    monkeypatch.setitem(vars(torch), "_dynamo", types.SimpleNamespace(reset=lambda: None))


def test_the_machine(gpu: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for script, driver in (("echo 999.1", "999.1"), ("exit 1", None), ("", None)):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        found = describe("cuda")
        assert (found["name"], found["capability"], found["multiprocessors"]) == ("Fake H100", "9.0", 132)
        assert found["driver"] == driver
    assert query_card("pstate", "power.limit") == {}


def test_ceilings(gpu: Machine) -> None:
    found: list[dict[str, Any]] = []
    rates = ceilings.measure("cuda", lambda value: found.append(dict(value)))
    assert rates["copy"] == pytest.approx(2 * 1024 / 0.06) and rates["bfloat16"] == pytest.approx(2 * 16**3 / 0.06)
    assert rates["float32"] == rates["tf32"] == pytest.approx(2 * 8**3 / 0.06) and len(found) == 4
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_graph_of_a_call(gpu: Machine) -> None:
    x = torch.zeros(8, device="cuda")
    graph = timing.captured(lambda: x.add_(1))
    assert x.tolist() == [4.0] * 8, "three times to warm up, once replayed"
    assert timed_round(graph.replay, "cuda", 2) == pytest.approx(0.06) and x.tolist() == [6.0] * 8
    assert gpu.faults == []


def test_times_of_a_call(gpu: Machine) -> None:
    x = torch.zeros(8, device="cuda")
    assert timing.time_alone(lambda: x.add_(1), 0.01).median == pytest.approx(0.06)
    cold = timing.ColdTimer()
    assert cold.time(lambda: (x.add_(1), x.add_(1)), 10.0, max_rounds=12).seconds == pytest.approx([0.12] * 12)
    memory = timing.peak_memory(lambda: torch.empty(2**20, dtype=torch.uint8, device="cuda"))
    assert memory["peak_mb"] - memory["memory_mb"] == pytest.approx(1, abs=0.2)


def test_a_call_without_a_graph(gpu: Machine) -> None:
    x = torch.ones(8, device="cuda")
    found = timing.graph_and_cold(lambda: x.sum().item(), 1e-3, 0.01, timing.ColdTimer())
    assert "previous error during capture" in found["note"] and not found["cold_graph"] and "graph" not in found


def test_a_case(gpu: Machine, cases: None, no_compiler: None) -> None:
    emitted: list[dict[str, Any]] = []
    measure.measure_case("cuda", emitted.append, "bench_work", "work/8", CASES["work/8"].peers, 0.01)
    last = {peer: result for value in emitted for peer, result in value.items()}
    assert last["fails"] == {"status": "error", "note": "ValueError: not today"}
    assert last["hgfast"]["graph"]["median"] == pytest.approx(0.06) and "graph" not in last["autotune"]
    assert "no CUDA graph" in last["waits"]["note"]
    with pytest.raises(RuntimeError, match="illegal"):
        measure.measure_case("cuda", emitted.append, "bench_work", "lost/8", ["hgfast"], 0.01)


def test_the_worker(gpu: Machine, cases: None, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    lines = [{"job": "machine", "args": {}}, {"job": "op", "args": {"op": "nonsense", "sample_index": 0}}]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(map(json.dumps, lines))))
    worker.serve("cuda")
    out = capsys.readouterr().out
    answers = [json.loads(line[len(worker.MARK) :]) for line in out.splitlines() if line.startswith(worker.MARK)]
    assert [next(iter(answer)) for answer in answers] == ["ready", "done", "error"] and not answers[2]["fatal"]

    def gone() -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(torch.cuda, "synchronize", gone)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(lines[1])))
    with pytest.raises(SystemExit):
        worker.serve("cuda")
    assert '"fatal": true' in capsys.readouterr().out


class InProcess:
    """A client whose worker is this process."""

    def __init__(self, device: str, env: dict[str, str], log: process.Log) -> None:
        self.device, self.env, self.closed = device, env, 0

    def call(self, job: str, timeout: float, on_partial: Callable[[Any], None] = lambda value: None, **args) -> Outcome:
        return Outcome("ok", json.loads(json.dumps(JOBS[job](self.device, on_partial, **args))))

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    log = process.Log(tmp_path / "device.log")
    record = Record(tmp_path / "out", {})
    record.name_after({"name": "Fake H100", "capability": "9.0"})
    yield Context("cuda", "", record, log, InProcess("cuda", {}, log), Deadline.after(60))  # type: ignore[arg-type]
    log.close()


def test_a_run(gpu: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "Client", InProcess)
    monkeypatch.setattr(process, "find_tool", lambda name: None)
    small_networks(monkeypatch)
    options = [
        "--only",
        "ceilings,layers,choices,graphs,ops,sanitizer,profile",
        "--filter",
        "upsample_add_out",
        "--out",
        str(tmp_path),
    ]
    assert command.main(options) == 0
    (path,) = tmp_path.glob("fake-h100*.json")
    data = json.loads(path.read_text())
    assert {name: stage["status"] for name, stage in data["stages"].items()} == {
        **dict.fromkeys(["ceilings", "layers", "choices", "graphs", "ops"], "ok"),
        **dict.fromkeys(["sanitizer", "profile"], "absent"),
    }
    assert {entry["status"] for entry in data["ops"]} == {"ok"} and data["machine"]["capability"] == "9.0"


def test_a_worker_whose_capture_failed_is_not_used_again(
    gpu: Machine, cases: None, no_compiler: None, context: Context
) -> None:
    context.filter = "work"
    benching.run_cases(context, "bench")
    assert context.client.closed >= 1  # type: ignore[attr-defined]
    assert context.record.data["bench"][0]["peers"]["hgfast"]["status"] == "ok"


def test_the_build_is_for_the_card(gpu: Machine, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[dict[str, str]] = []

    def run(command: list[str], env: dict[str, str], timeout: float, log: process.Log) -> process.Finished:
        settings.append(env)
        return process.Finished("ok", 0, "")

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(build.shutil, "rmtree", lambda *args, **options: None)
    context.record.data["machine"] = {"capability": "9.0"}
    build.build(context)
    assert settings[0]["HGFAST_CUDA"] == "1" and settings[0]["HGFAST_CUDA_ARCHS"] == "90a"
    assert context.record.data["build"]["info"]["cuda"]["compiled"]


@pytest.mark.parametrize("trouble", ["pip", "import"])
def test_a_build_that_fails(gpu: Machine, context: Context, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    ended = process.Finished("failed" if trouble == "pip" else "ok", 1, "no nvcc")
    monkeypatch.setattr(process, "run", lambda *args: ended)
    monkeypatch.setattr(build.shutil, "rmtree", lambda *args, **options: None)
    monkeypatch.setattr(InProcess, "call", lambda *args, **options: Outcome("error", note="no module"))
    context.record.data["machine"] = {"capability": "8.0"}
    with pytest.raises(StageError, match="pip install: failed" if trouble == "pip" else "does not load: no module"):
        build.build(context)


def test_the_demo_waits(gpu: Machine) -> None:
    demo._wait(torch.device("cuda:1"))
    assert gpu.waits() == ["host waits: synchronize"]


def test_single_calls(gpu: Machine, cases: None, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """For ncu and compute-sanitizer to watch."""
    profile_one.main("bench_work", "work/8")
    assert [line for line in gpu.log if line.endswith(": mul")] == ["cuda:0 default stream: mul"] * 2
    assert gpu.waits() == ["host waits: synchronize"]
    monkeypatch.setattr(sys, "argv", ["sanitize_one", "upsample_add_out", "nonsense"])
    sanitize_one.main()
    out = capsys.readouterr().out
    assert "@@ begin upsample_add_out\n@@ end upsample_add_out\n@@ begin nonsense\n@@ failed nonsense" in out
