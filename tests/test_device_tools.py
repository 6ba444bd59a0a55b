"""The sanitizer's and the profiler's stages of `python -m benchmarks.device`, with scripts for the tools."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import process
from benchmarks.device.context import Context, StageAbsent, StageError
from benchmarks.device.figures import ceiling_share
from benchmarks.device.profiling import parse as parse_profile
from benchmarks.device.profiling import profile
from benchmarks.device.sanitizer import TOOLS, sanitizer
from benchmarks.device.sanitizer import parse as parse_sanitizer
from tests.device_runs import cpu_run

REPORT = """========= COMPUTE-SANITIZER
@@ begin good
@@ end good
@@ begin upsample_add
========= Invalid __global__ write of size 16 bytes
=========     at void hgfast::cuda::upsample_add_kernel<float, (int)4>(...)+0x2a0 in upsample_add.cuh:41
=========     by thread (31,0,0) in block (2,0,0)
=========
@@ end upsample_add
@@ begin hanging
========= ERROR SUMMARY: 1 error
"""
NCU = """==PROF== Connected to process 1
"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","1","_ZN6hgfast4cuda6kernelE","GPU Speed Of Light Throughput","Duration","us","12.3"
"0","1","_ZN6hgfast4cuda6kernelE","GPU Speed Of Light Throughput","DRAM Throughput","%","81.2"
"0","1","_ZN6hgfast4cuda6kernelE","Occupancy","Block Limit SM","block","32"
"""
# compute-sanitizer in place of which this stands runs the program given after its own options; that takes seconds, so
# with other tools than TOOL it only reports
FAKE_SANITIZER = """#!/bin/sh
case "$*" in *--tool=TOOL*) ;; *) printf '@@ begin upsample_add_out\n@@ end upsample_add_out\n'; exit;; esac
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with cpu_run(tmp_path) as context:
        yield context


def put_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_sanitizer_report_is_attributed() -> None:
    found, running = parse_sanitizer(REPORT)
    assert {name: entry["status"] for name, entry in found.items()} == {
        "good": "clean",
        "upsample_add": "findings",
        "hanging": "clean",
    }
    assert found["upsample_add"]["findings"] == ["Invalid __global__ write of size 16 bytes"]
    assert running == "hanging"


def test_sanitizer_stage(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(process, "TOOLKIT", "")
    with pytest.raises(StageAbsent):
        sanitizer(context)
    monkeypatch.undo()
    two = dict(list(TOOLS.items())[:2])
    put_on_path(monkeypatch, tmp_path, "compute-sanitizer", FAKE_SANITIZER.replace("TOOL", next(iter(two))))
    context.client.env = context.environment()
    monkeypatch.setattr("benchmarks.device.sanitizer.TOOLS", two)
    sanitizer(context)
    clean = {"upsample_add_out": {"status": "clean", "findings": []}}
    assert context.record.data["sanitizer"] == dict.fromkeys(two, clean)


def test_sanitizer_goes_on_after_a_crash(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(monkeypatch, tmp_path, "compute-sanitizer", "#!/bin/sh\necho '@@ begin upsample_add_out'\nexit 3\n")
    with pytest.raises(StageError, match="memcheck: upsample_add_out crashed"):
        sanitizer(context)


def test_profile_metrics() -> None:
    (launch,) = parse_profile(NCU)
    assert launch == {
        "kernel": "_ZN6hgfast4cuda6kernelE",
        "metrics": {"Duration": "12.3 us", "DRAM Throughput": "81.2 %"},
    }
    assert parse_profile("==ERROR== no permission") == []


def measured(case: str, seconds: float) -> dict[str, Any]:
    times = {"median": seconds, "best": seconds, "spread": 0.0, "rounds": 5}
    counts = {"bytes": 1e9, "flops": 0, "arithmetic": "float32"}
    return {
        "file": "bench_x",
        "case": case,
        "stage": "bench",
        **counts,
        "peers": {"hgfast": {"status": "ok", "cold": times}},
    }


def test_profile_stage_takes_the_worst_kernel_first(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StageAbsent):
        profile(context)
    script = f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncat {tmp_path}/ncu.csv\n'
    (tmp_path / "ncu.csv").write_text(NCU)
    put_on_path(monkeypatch, tmp_path, "ncu", script)
    context.record.data |= {"ceilings": {"copy": 1e12}, "bench": [measured("fast", 2e-3), measured("slow", 5e-3)]}
    profile(context)
    assert [entry["case"] for entry in context.record.data["profile"]] == ["slow", "fast"]
    first = (tmp_path / "calls").read_text().splitlines()[0]
    assert first.startswith("--clock-control none") and first.endswith("bench_x slow cpu")


def test_share_of_the_nearer_ceiling() -> None:
    entry = measured("x", 2e-3)
    assert ceiling_share({"ceilings": {"copy": 1e12}}, entry, "hgfast") == pytest.approx(0.5)
    assert ceiling_share({}, entry, "hgfast") is None
    entry["flops"] = 1.5e9
    assert ceiling_share({"ceilings": {"copy": 1e12, "float32": 1e12}}, entry, "hgfast") == pytest.approx(0.75)
