"""Counts of a run, written between the markers of a Markdown file."""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
from pathlib import Path

import torch

from tests.fuzz.run import ROOT, Results

BEGIN, END = "<!-- fuzz counts -->", "<!-- /fuzz counts -->"


def record(path: Path, results: Results, seed: int) -> None:
    """Replace what stands between the markers."""
    text = path.read_text(encoding="utf-8")
    head = (
        f"{datetime.date.today()}, commit {_commit()}, seed {seed}, torch {torch.__version__}, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}:"
    )
    part = f"{BEGIN}\n{head}\n\n{results.table()}\n{END}"
    new, count = re.subn(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: part, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{path} must have the markers {BEGIN} and {END} once")
    path.write_text(new, encoding="utf-8")


def _commit() -> str:
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
