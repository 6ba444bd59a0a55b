"""Hands out cases to servers, adds up what comes back, and prints it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hgfast
from tests.ahead import ENVIRONMENT
from tests.fuzz.judge import VERDICTS

PACKAGE_FOLDER = Path(hgfast.__file__).parents[1]  # the hgfast of the tests, installed or in the checkout
ROOT = Path(__file__).parents[2]
BATCH = 500  # cases a child at most: a fork costs as much as ten of them


COLUMNS = ("cases", "bad", *VERDICTS)
Counts = dict[str, Counter[str]]


@dataclass
class Failure:
    """A distinct failure: where it was seen first, and how often."""

    target: str
    seed: int
    index: int
    verdict: str
    text: str
    place: str
    count: int = 1

    def __str__(self) -> str:
        again = f"python -m tests.fuzz --target {self.target} --seed {self.seed} --index {self.index}"
        return f"{self.verdict:<13} {self.count:>4}x  {again}\n{'':20}{self.text}  [{self.place}]"


@dataclass
class Results:
    """Counts for each target, and the distinct failures."""

    counts: Counts = field(default_factory=lambda: defaultdict(Counter))
    failures: dict[tuple[str, str, str], Failure] = field(default_factory=dict)
    say: Callable[[Failure], None] = lambda failure: None  # hears of each new one

    def add(self, target: str, seed: int, outcome: dict[str, Any]) -> None:
        counts, verdict = self.counts[target], outcome["verdict"]
        counts["cases"] += 1
        counts["bad"] += outcome["bad"]
        if verdict == "ok":
            return
        counts[verdict] += 1
        key = (target, verdict, outcome["place"])
        if key in self.failures:
            self.failures[key].count += 1
        else:
            failure = Failure(target, seed, outcome["index"], verdict, outcome["text"], outcome["place"])
            self.failures[key] = failure
            self.say(failure)

    def total(self, *names: str) -> int:
        return sum(counts[name] for counts in self.counts.values() for name in names)


def table(counts: Counts) -> str:
    """Markdown, with a row for each target."""
    rows = [f"| target | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    for target, numbers in sorted(counts.items()):
        rows.append(f"| `{target}` | {' | '.join(str(numbers[name]) for name in COLUMNS)} |")
    sums = sum(counts.values(), Counter[str]())
    rows.append(f"| **all** | {' | '.join(str(sums[name]) for name in COLUMNS)} |")
    return "\n".join(rows)


def batches(counts: dict[str, int], starts: dict[str, int] | None = None) -> list[dict[str, Any]]:
    """Requests for so many cases of each target, from 0 or from given ones on."""
    found = []
    for target, count in counts.items():
        begin = (starts or {}).get(target, 0)
        for first in range(begin, begin + count, BATCH):
            found.append({"target": target, "start": first, "stop": min(first + BATCH, begin + count)})
    return found


def run(requests: Iterable[dict[str, Any]], seed: int, jobs: int, results: Results | None = None) -> Results:
    """Runs requests in `jobs` servers at a time."""
    results = Results() if results is None else results
    work: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for request in requests:
        work.put(request | {"seed": seed})
    lock = threading.Lock()
    errors: list[BaseException] = []

    def client() -> None:
        try:
            _serve_one(work, results, lock)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=client) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def _serve_one(work: queue.SimpleQueue[dict[str, Any]], results: Results, lock: threading.Lock) -> None:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where no file waits for a disk
    with tempfile.TemporaryDirectory(prefix="hgfast-fuzz-", dir=memory) as folder, _server(folder) as server:
        assert server.stdin is not None and server.stdout is not None
        while True:
            try:
                request = work.get_nowait()
            except queue.Empty:
                break
            print(json.dumps(request), file=server.stdin, flush=True)
            while True:
                answer = server.stdout.readline()
                if not answer:
                    raise RuntimeError(f"the server ended in {request}")
                outcome = json.loads(answer)
                if "finished" in outcome:
                    break
                with lock:
                    results.add(request["target"], request["seed"], outcome)
        server.stdin.close()


def _server(folder: str) -> subprocess.Popen[str]:
    """A server whose files, those of crashed children included, are in `folder`."""
    places = os.pathsep.join((str(PACKAGE_FOLDER), str(ROOT)))
    environment = ENVIRONMENT | {"PYTHONPATH": places, "TMPDIR": folder, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", "from tests.fuzz.server import serve; serve()"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
