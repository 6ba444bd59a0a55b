"""Stages wrappers, kernels and tests: the test-suite on the device, one process a file, several at a time."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.device import process
from benchmarks.device.context import Context, StageError

STAGE_FILES = {
    "wrappers": ("test_cuda_runtime", "test_ptx", "test_ptx_tma"),
    "kernels": ("test_conv_cuda", "test_conv_cuda_calls", "test_bottleneck_cuda"),
}
FILE_SECONDS = 240.0
OUT_OF_TIME = "out of time"  # of the stage; a file that takes longer than FILE_SECONDS ends in "timeout"


def stage_files(context: Context, stage: str) -> list[Path]:
    """The files of tests/ that a stage runs: those of its own, or all that no other stage has."""
    found = [path for path in sorted((process.ROOT / "tests").glob("test_*.py")) if context.chosen(path.stem)]
    if stage in STAGE_FILES:
        return [path for path in found if path.stem in STAGE_FILES[stage]]
    others = {"test_device_run", *(name for names in STAGE_FILES.values() for name in names)}
    return [path for path in found if path.stem not in others and re.search("device|cuda", path.read_text())]


def run_file(context: Context, path: Path, folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """("ok" if the file was run to its end, its outcomes)."""
    timeout = context.deadline.at_most(FILE_SECONDS)
    if timeout < 5.0:
        return OUT_OF_TIME, []
    outcomes = folder / f"{path.stem}.jsonl"
    options = ["-p", "benchmarks.device.outcomes", "--outcomes", str(outcomes), "--device-only"]
    options += ["--device", context.device, "-p", "no:cacheprovider", str(path)]
    finished = process.run(process.python("-m", "pytest", *options), context.environment(), timeout, context.log)
    found = [json.loads(line) for line in outcomes.read_text().splitlines()] if outcomes.exists() else []
    if finished.status == "timeout" and timeout < FILE_SECONDS:
        return OUT_OF_TIME, found
    ended = finished.status if finished.status != "failed" else "ok" if finished.code in (1, 5) else "crashed"
    return ended, found


def summary(ends: dict[str, str], outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """The record's `wrappers`, `kernels` and `tests`."""
    counts = Counter(entry["outcome"] for entry in outcomes)
    return {
        "passed": counts["passed"],
        "failed": counts["failed"],
        "skipped": counts["skipped"],
        "failures": [{"test": e["test"], "message": e["message"]} for e in outcomes if e["outcome"] == "failed"],
        "skips": Counter(entry["message"] for entry in outcomes if entry["outcome"] == "skipped"),
        "unfinished": [f"{name}: {end}" for name, end in ends.items() if end != "ok"],
    }


def run_tests(context: Context, stage: str) -> None:
    """Run the files of a stage.

    Raises:
        StageError: a test failed, or a file crashed or took too long. (For others the budget was too short.)
    """
    jobs = min(6, (os.cpu_count() or 1) // 2) or 1
    ends: dict[str, str] = {}
    outcomes: list[dict[str, Any]] = []
    context.client.close()  # its memory is not in the tests' way
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        files = stage_files(context, stage)
        for path, (ended, found) in zip(
            files, pool.map(lambda path: run_file(context, path, Path(folder)), files), strict=True
        ):
            ends[path.name] = ended
            outcomes += found
            context.set(stage, summary(ends, outcomes))
    result = summary(ends, outcomes)
    context.say(f"{stage}: " + "{passed} passed, {failed} failed, {skipped} skipped".format(**result))
    context.unfinished += [name for name, end in ends.items() if end == OUT_OF_TIME]
    bad = [f"{name}: {end}" for name, end in ends.items() if end not in ("ok", OUT_OF_TIME)]
    if result["failed"] or bad:
        raise StageError("; ".join([f"{result['failed']} failed", *bad]))
