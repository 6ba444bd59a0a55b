"""`python -m benchmarks.device` rehearsed on the CPU: stages, records, crashes, hangs, tools, without a GPU."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.device import benching, process, testing, timing
from benchmarks.device.__main__ import main
from benchmarks.device.benching import plan
from benchmarks.device.budget import Deadline
from benchmarks.device.build import archs_of
from benchmarks.device.client import Outcome
from benchmarks.device.context import Context, StageError
from benchmarks.device.markdown import render
from benchmarks.device.record import Record
from benchmarks.device.testing import summary
from benchmarks.harness import Timing
from tests import sample_checks
from tests.device_runs import cpu_run


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with cpu_run(tmp_path) as context:
        yield context


def only_record(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_rehearsal(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--minutes", "2", "--out", str(tmp_path)]
    options += ["--only", "ceilings,wrappers,layers,graphs,ops,tests,bench,networks,sanitizer,profile"]
    assert main([*options, "--filter", "upsample_add_backward,test_upsample_add"]) == 0
    data = only_record(tmp_path)
    assert data["complete"]
    assert {name: stage["status"] for name, stage in data["stages"].items()} == {
        **dict.fromkeys(["ceilings", "wrappers", "ops", "tests", "bench", "networks"], "ok"),
        **dict.fromkeys(["layers", "graphs", "sanitizer", "profile"], "absent"),
    }
    assert data["ceilings"]["copy"] > 1e8 and data["ceilings"]["float32"] > 1e8
    assert {(entry["op"], entry["status"]) for entry in data["ops"]} == {("upsample_add_backward", "ok")}
    assert data["tests"]["passed"] > 50 and not data["tests"]["failed"]
    (case,) = data["bench"]
    assert case["case"].startswith("upsample_add_backward/")
    assert all(peer["clock"]["median"] > 0 for peer in case["peers"].values())
    text = next(tmp_path.glob("*.md")).read_text()
    assert case["case"] in text and "upsample_add_backward" in text


def test_a_killed_run_keeps_what_it_had(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.device", "--device", "cpu", "--out", str(tmp_path)]
    command += ["--only", "ops,bench", "--filter", "upsample_add_out,upsample_add/8"]
    run = subprocess.Popen(command, cwd=process.ROOT, env=process.environment(), start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(
        "ops" in json.loads(p.read_text())["stages"] for p in tmp_path.glob("*.json")
    ):
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    data = only_record(tmp_path)
    assert data["stages"]["ops"]["status"] == "ok" and not data["complete"]
    assert "cut short" in next(tmp_path.glob("*.md")).read_text()


def test_without_a_gpu_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["--out", str(tmp_path), "--only", "ceilings"]) == 2
    assert "torch finds no CUDA device" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.json"))


def test_the_command_itself_needs_no_torch() -> None:
    code = "import sys, benchmarks.device.__main__; assert 'torch' not in sys.modules"
    subprocess.run(process.python("-c", code), cwd=process.ROOT, env=process.environment(), check=True)


def test_wrong_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, message in ((["--only", "bench,nonsense"], "got nonsense"), (["--minutes", "0"], "must be positive")):
        with pytest.raises(SystemExit):
            main(wrong)
        assert message in capsys.readouterr().err


def test_the_client_survives_errors_hangs_and_crashes(context: Context) -> None:
    client = context.client
    wrong = client.call("op", 120.0, op="nonsense", sample_index=0)
    assert wrong.status == "error" and "KeyError" in wrong.note
    assert client.call("ceilings", 0.01).status == "timeout"
    good = client.call("op", 120.0, op="upsample_add_out", sample_index=0)
    assert good.status == "ok" and good.value["status"] == "ok"
    assert client._process is not None
    os.killpg(client._process.pid, signal.SIGSEGV)
    lost = client.call("op", 120.0, op="upsample_add_out", sample_index=0)
    assert lost.status in ("crashed", "ok")  # ok: the death was seen before the call, which then had a new worker


def test_a_wrong_op_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sample_checks.call_op
    for damage in (lambda out: out * 1.001, lambda out: torch.where(out == out.max(), torch.nan, out)):
        monkeypatch.setattr(sample_checks, "call_op", lambda *a, damage=damage: [damage(out) for out in right(*a)])
        found = sample_checks.check_sample("cpu", "upsample_add", 0)
        assert found["status"] == "wrong" and found["error"] > found["bound"]


class Replayed:
    """In the place of a CUDA graph, and of the timer that needs a card."""

    def replay(self) -> None: ...

    def time(self, call: Any, seconds: float) -> Timing:
        return Timing([2e-6 if call == self.replay else 5e-6] * 5)


def test_a_call_is_timed_with_and_without_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Replayed()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(timing, "time_alone", lambda call, seconds: Timing([1e-6] * 5))
    monkeypatch.setattr(timing, "captured", lambda call: graph)
    found = timing.graph_and_cold(lambda: None, 1e-5, 0.1, graph)
    assert found["graph"]["median"] == 1e-6 and found["cold"]["median"] == 2e-6 and found["cold_graph"]
    assert "cold" not in timing.graph_and_cold(lambda: None, 1.0, 0.1, graph)

    def refused(call: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(timing, "captured", refused)
    found = timing.graph_and_cold(lambda: None, 1e-5, 0.1, graph)
    assert found["note"] == "no CUDA graph: operation not permitted when stream is capturing"
    assert found["cold"]["median"] == 5e-6 and not found["cold_graph"] and "graph" not in found


def test_slow_peers_come_last() -> None:
    cases = [{"case": name, "peers": ["hgfast", "eager", "torch.compile"]} for name in "ab"]
    assert [(case["case"], peers) for case, peers in plan(cases)] == [
        ("a", ["hgfast", "eager"]),
        ("b", ["hgfast", "eager"]),
        ("a", ["hgfast", "torch.compile"]),
        ("b", ["hgfast", "torch.compile"]),
    ]


def test_test_outcomes_are_counted() -> None:
    outcomes = [
        {"test": "a", "outcome": "passed", "message": ""},
        {"test": "b", "outcome": "failed", "message": "E assert"},
        {"test": "c", "outcome": "skipped", "message": "no picture"},
    ]
    result = summary({"test_x.py": "ok", "test_y.py": "timeout"}, outcomes)
    assert (result["passed"], result["failed"], result["skips"]) == (1, 1, {"no picture": 1})
    assert result["unfinished"] == ["test_y.py: timeout"]


@pytest.mark.parametrize(("left", "late"), [(10.0, True), (1000.0, False)])
def test_what_the_budget_cuts_off_is_no_failure(
    context: Context, monkeypatch: pytest.MonkeyPatch, left: float, late: bool
) -> None:
    """A case and a test file that do not end: unfinished where the stage's time is over, else a failure."""
    listed = {"cases": [{"case": "upsample_add_out", "stage": "bench", "peers": ["hgfast"]}], "errors": {}}
    hung = process.Finished("timeout", None, "")
    monkeypatch.setattr(context.client, "call", lambda *args, **kwargs: Outcome("ok", listed))
    monkeypatch.setattr(benching, "measure", lambda *args: "timeout (hgfast): not done")
    monkeypatch.setattr(process, "run", lambda *args, **kwargs: hung)
    monkeypatch.setattr(testing, "stage_files", lambda context, stage: [Path("tests/test_ops.py")])
    context.deadline = Deadline.after(left)
    for stage in (partial(benching.run_cases, stage="bench"), partial(testing.run_tests, stage="tests")):
        with contextlib.nullcontext() if late else pytest.raises(StageError, match="timeout"):
            stage(context)
    assert context.unfinished == (["upsample_add_out", "test_ops.py"] if late else [])


def test_record_never_overwrites_a_run_of_the_same_day(tmp_path: Path) -> None:
    paths = []
    for _ in range(2):
        record = Record(tmp_path, {})
        record.name_after({"name": "NVIDIA H100 80GB HBM3"})
        paths.append(record.path)
    assert paths[0] != paths[1] and all(path is not None and path.name.startswith("nvidia-h100-80gb") for path in paths)
    assert render(record.data).startswith("# NVIDIA H100")


def test_architecture_of_the_card() -> None:
    assert [archs_of(capability) for capability in ("8.0", "9.0", "12.0")] == ["80", "90a", "120"]
