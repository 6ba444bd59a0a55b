"""The tables of docs/status.md are what the records say, and they say so where no GPU has run anything."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plots, report
from benchmarks.device.figures import gains

MARKED = "a\n<!-- status -->\n<!-- /status -->\nb\n<!-- speed -->\nold\n<!-- /speed -->\n"


def times(median: float) -> dict[str, Any]:
    return {"median": median, "best": median, "spread": 0.1, "rounds": 9}


CPU: dict[str, Any] = {
    "schema": 1,
    "started": "2026-01-02T03:04:05+00:00",
    "commit": "0123456789abcdef",
    "modified": False,
    "sources": "00",
    "complete": True,
    "file": "some-cpu-2026-01-02.json",
    "machine": {"kind": "cpu", "name": "Some CPU", "threads": 2, "isa": "AVX512", "torch": "2.13.0"},
    "ceilings": {"copy": 1e10, "float32": 1e11},
    "ops": [{"op": "op_a", "sample": 0, "way": "kernel", "status": "ok", "error": 1e-8, "bound": 1e-7, "note": ""}],
    "tests": {"passed": 3, "failed": 0, "skipped": 1, "failures": [], "skips": {}, "unfinished": []},
    "bench": [
        {
            "case": f"op_a/{size}",
            "stage": "bench",
            "bytes": 1e6,
            "flops": 1e7,
            "arithmetic": "float32",
            "peers": {
                "hgfast": {"status": "ok", "clock": times(1e-3)},
                "eager": {"status": "ok", "clock": times(3e-3)},
                "torch.compile": {"status": "ok", "clock": times(2e-3)},
                "broken": {"status": "error", "note": "no"},
                "yardstick: copy": {"status": "ok", "clock": times(1e-4)},
                "hgfast, other way": {"status": "ok", "clock": times(5e-4)},
            },
        }
        for size in ("large", "small")
    ],
}


def gpu() -> dict[str, Any]:
    data = copy.deepcopy(CPU)
    data["machine"] |= {"kind": "cuda", "name": "Some GPU"}
    data["ops"].append({**data["ops"][0], "op": "op_b", "status": "crashed"})
    data["sanitizer"] = {"memcheck": {"op_a": {"status": "clean", "findings": []}}}
    for entry in data["bench"]:
        for measured in entry["peers"].values():
            if "clock" in measured:
                measured["cold"] = measured.pop("clock")
    return data


def test_the_page_is_made_from_the_records() -> None:
    text = report.PAGE.read_text()
    assert report.updated(text, report.records()) == text, "run python -m benchmarks.report"


def test_without_a_gpu_both_tables_say_so() -> None:
    text = report.updated(MARKED, [CPU])
    assert text.count("not yet run on a GPU") == 2
    assert "| `op_a/large` | 1 ms | 3.00x | 2.00x (torch.compile) |" in text
    assert "op_a/small" not in text and "old" not in text
    assert "| `op_a` | right, error 1e-08 | not yet run on a GPU |" in text
    assert "3 passed, 0 failed, 1 skipped" in text


def test_a_gpu_gets_columns_and_shares() -> None:
    text = report.updated(MARKED, [gpu(), CPU])
    assert "not yet run on a GPU" not in text
    assert "| `op_a/large` | 1 ms | 3.00x | 2.00x (torch.compile) | 10% |" in text
    assert "| `op_a` | right, error 1e-08; sanitizer clean | right, error 1e-08 |" in text
    assert "| `op_b` | CRASHED (1 of 1 samples); sanitizer memcheck NOT RUN | not run |" in text


def test_missing_markers_are_named() -> None:
    with pytest.raises(ValueError, match="<!-- status -->"):
        report.updated("<!-- speed -->\n<!-- /speed -->", [CPU])


def test_the_newest_record_is_completed_by_older_ones(tmp_path: Path) -> None:
    newer = copy.deepcopy(CPU) | {"started": "2026-02-02T00:00:00+00:00", "ceilings": {"copy": 2e10}}
    del newer["bench"]
    for name, data in (("old", CPU), ("new", newer)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    (found,) = report.records(tmp_path)
    assert found["started"] == newer["started"] and found["ceilings"] == {"copy": 2e10}
    assert found["bench"] == CPU["bench"]
    (tmp_path / "odd.json").write_text(json.dumps(CPU | {"schema": 0}))
    with pytest.raises(ValueError, match="odd.json: schema must be 1, got 0"):
        report.records(tmp_path)


def test_plots(tmp_path: Path) -> None:
    drawn = plots.draw(CPU, report.headline(CPU), tmp_path / "x")
    assert [path.name for path in drawn] == ["x-roofline.png", "x-speedup.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert gains(CPU["bench"][0]) == {"eager": pytest.approx(3.0), "torch.compile": pytest.approx(2.0)}
    assert plots.draw(CPU | {"bench": []}, [], tmp_path / "y") == []
