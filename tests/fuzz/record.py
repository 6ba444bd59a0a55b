"""Counts of all runs so far, kept between the markers of a Markdown file: a line for each run, and the table of sums.

A run that is recorded adds to what the file holds, under its commit and seed. The same cases must not be recorded
twice: take another seed, or another --start.
"""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
from collections import Counter
from pathlib import Path

import torch

from tests.fuzz.judge import VERDICTS
from tests.fuzz.run import COLUMNS, ROOT, Counts, Results, table

BEGIN, END = "<!-- fuzz counts -->", "<!-- /fuzz counts -->"
_ROW = re.compile(r"^\| `(.+)` \|((?: \d+ \|)+)$", re.MULTILINE)


class Record:
    """A file as it was before a run, and what the run adds to it."""

    def __init__(self, path: Path, seed: int, start: int) -> None:
        self.path, self.name = path, f"seed {seed} from case {start} on"
        text = path.read_text(encoding="utf-8")
        if text.count(BEGIN) != 1 or text.count(END) != 1:
            raise ValueError(f"{path} must have the markers {BEGIN} and {END} once")
        self.before, _, rest = text.partition(BEGIN)
        part, _, self.behind = rest.partition(END)
        self.runs = [line for line in part.splitlines() if line.startswith("- ")]
        if any(f"commit {_commit()}, {self.name}:" in line for line in self.runs):
            raise ValueError(f"{path} has a run of {self.name} of this commit: take another --seed or --start")
        self.counts = {
            name: Counter(dict(zip(COLUMNS, map(int, numbers.split("|")[:-1]), strict=True)))
            for name, numbers in _ROW.findall(part)
        }

    def write(self, results: Results) -> None:
        """The file with the results so far; each call takes the place of the one before."""
        failed = ", ".join(f"{results.total(name)} {name}" for name in VERDICTS if results.total(name)) or "0 failures"
        run = (
            f"- {datetime.date.today()}, commit {_commit()}, {self.name}: {results.total('cases')} cases, {failed} "
            f"(torch {torch.__version__}, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
        )
        sums: Counts = {name: Counter(counts) for name, counts in self.counts.items()}
        for name, counts in results.counts.items():
            sums.setdefault(name, Counter()).update(counts)
        lines = "\n".join([*self.runs, run])
        text = f"{self.before}{BEGIN}\n{lines}\n\n{table(sums)}\n{END}{self.behind}"
        self.path.write_text(text, encoding="utf-8")


def _commit() -> str:
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
