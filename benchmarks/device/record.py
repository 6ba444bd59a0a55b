"""The record of a run: `<gpu>-<date>.json`, and the same to read in `<gpu>-<date>.md`, rewritten after every step.

    schema       1
    started      UTC, ISO 8601; `seconds`: how long the run has taken so far; `complete`: false for a killed run
    arguments    the command line's options
    commit       git commit or null; `modified`: whether the checkout differed from it; `sources`: digest of the code
    machine      kind ("cuda", "cpu"), name, multiprocessors, memory_gb, l2_mb, capability, driver, clocks_as_found,
                 cuda, torch, python, cpu, threads ...
    ceilings     {"copy": bytes/s, "<dtype>": FLOP/s of a large matrix product, "tf32": ...}
    stages       {stage: {status, seconds, note}}; status: "ok", "failed", "timeout" (budget spent), "absent"
    build        {seconds, archs, info: hgfast.build_info()}
    ops          [{op, sample, dtype, way, status, error, bound, note}]   against the float64 reference on the CPU;
                 status: "ok", "wrong", "error", "crashed", "timeout"; way: "kernel" or "reference"
    layers       [{name, status, note}]   a network at a batch size, each of its calls held against torch in float32
    choices      [{name, status, note}]   what trying and timing a network's kernels takes; status also "late"
    graphs       [{name, status, note}]   frozen networks as CUDA graphs; "absent": what one card cannot show
    tests        {passed, failed, skipped, failures: [{test, message}], skips: {reason: count}, unfinished: [file]}
    wrappers, kernels   as tests: those of the PTX instructions, those of convolutions and bottlenecks
    bench        [{file, case, stage, bytes, flops, arithmetic, peers: {peer: Measured}}]
                 Measured: {status, note, warm, graph, cold, clock: Times or absent, cold_graph, memory_mb, peak_mb}
                 Times: {median, best, spread, rounds} in seconds per call. "clock": calls in a row on a CPU; "warm":
                 calls in a row between CUDA events; "graph": replays of a CUDA graph in a row; "cold": one call or
                 replay at a time, the L2 cache flushed before it; "cold_graph": whether `cold` timed a replay
    sanitizer    {tool: {op: {status, findings: [str]}}}   status: "clean", "findings", "crashed", "timeout"
    profile      [{case, kernel, metrics: {name: "value unit"}}]

A key is absent where its stage did not run. `python -m benchmarks.report` combines the newest records of each device.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.device.markdown import render
from benchmarks.device.process import ROOT

RESULTS = ROOT / "benchmarks" / "results"
SCHEMA = 1


def source_digest() -> str:
    """Digest of the kernels' and the package's sources: says whether two runs measured the same code."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "csrc").rglob("*"), *(ROOT / "hgfast").rglob("*.py")]):
        if path.is_file() and path.suffix in (".h", ".cpp", ".cu", ".cuh", ".py"):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def code_version() -> dict[str, Any]:
    """Commit (from git, else $HGFAST_COMMIT where the checkout travels without its .git), and the digest."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": os.environ.get("HGFAST_COMMIT"), "modified": None, "sources": source_digest()}
    modified = bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {"commit": commit, "modified": modified, "sources": source_digest()}


def slug(name: str) -> str:
    """A device's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class Record:
    """What is known so far, and where it is written."""

    def __init__(self, folder: Path, arguments: dict[str, Any]) -> None:
        """folder: where the files go; created if it is missing."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._begin = time.monotonic()
        now = datetime.datetime.now(datetime.timezone.utc)
        self.date = now.strftime("%Y-%m-%d")
        self.path: Path | None = None
        self.data: dict[str, Any] = {
            "schema": SCHEMA,
            "started": now.isoformat(timespec="seconds"),
            "seconds": 0.0,
            "complete": False,
            "arguments": arguments,
            **code_version(),
            "stages": {},
        }

    def name_after(self, machine: dict[str, Any]) -> None:
        """Set the machine, and with it the file's name; an earlier run of the same day is not overwritten."""
        self.data["machine"] = machine
        stem = f"{slug(machine['name'])}-{self.date}"
        names = [stem, *(f"{stem}-{i}" for i in range(2, 1000))]
        free = next(name for name in names if not (self.folder / f"{name}.json").exists())
        self.path = self.folder / f"{free}.json"
        self.save()

    def save(self) -> None:
        """Write both files; each is complete at any moment."""
        if self.path is None:
            return
        self.data["seconds"] = round(time.monotonic() - self._begin, 1)
        for path, text in (
            (self.path, json.dumps(self.data, indent=1) + "\n"),
            (self.path.with_suffix(".md"), render(self.data)),
        ):
            temporary = path.with_suffix(path.suffix + ".part")
            temporary.write_text(text)
            temporary.replace(path)
