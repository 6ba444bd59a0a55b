"""A process that has imported everything once, and forks a child for each batch of cases.

It reads requests from standard input, one JSON object a line: {"target", "seed", "start", "stop"}; for each case it
answers {"index", "verdict", "bad", "text", "place"}, and {"finished": true} behind the last. The child reports each
case before and after, so that a crash, a hang or a kill belongs to its case; another child goes on behind it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.cases import TARGETS

CPU_SECONDS = 10.0  # a case's own time: others may keep the machine busy
IDLE_SECONDS = 60.0  # without a tenth of a second of work: it waits for ever
ADDRESS_SPACE = 6 << 30  # beyond what the server has mapped itself
_PRELOADED = (
    "h5py",
    "scipy.io",
    "pycocotools.cocoeval",
    "matplotlib.pyplot",
    "cv2",
    "torch.fx.experimental.symbolic_shapes",
)


def serve() -> None:
    """Answers requests until standard input ends."""
    out = os.fdopen(os.dup(1), "w")
    prepare()
    for line in sys.stdin:
        request = json.loads(line)
        for need in TARGETS[request["target"]].needs:
            need()
        index = request["start"]
        while index < request["stop"]:
            index = _run_child(request, index, out)
        print(json.dumps({"finished": True}), file=out, flush=True)


def prepare() -> None:
    """Import what cases use, with one thread: a forked process cannot use the threads of another."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in _PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # the targets that need it say so themselves
    import cv2

    cv2.setNumThreads(1)
    importlib.import_module("tests.fuzz.targets")
    gc.collect()
    gc.freeze()  # or each collection in a child goes through what torch is made of, and copies the pages it lies on


@dataclass
class _Watch:
    """Times of the case that a child is at."""

    child: int
    began: float = 0.0
    worked: float = 0.0
    moved: float = field(default_factory=time.monotonic)

    def begin(self, cpu: float) -> None:
        self.began = self.worked = cpu
        self.moved = time.monotonic()

    def hangs(self) -> bool:
        cpu, now = _cpu_seconds(self.child), time.monotonic()
        if cpu - self.worked > 0.1:
            self.worked, self.moved = cpu, now
        return cpu - self.began > CPU_SECONDS or now - self.moved > IDLE_SECONDS


def _run_child(request: dict[str, Any], first: int, out: Any) -> int:
    """Cases from `first` on in one child; the index of the next case to be run."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _cases(request, first, writing)
    os.close(writing)
    watch, index, running, end, buffer = _Watch(child), first, False, "", b""
    while not end:
        if select.select([reading], [], [], 0.5)[0]:
            chunk = os.read(reading, 1 << 16)
            if not chunk:
                break
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                message = json.loads(line)
                running = "begins" in message
                if running:
                    index = message["begins"]
                    watch.begin(message["cpu"])
                else:
                    print(line.decode(), file=out, flush=True)
        elif running and watch.hangs():
            end = "hang"
            os.kill(child, signal.SIGKILL)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    if not running and status == 0:
        return request["stop"]
    text = end or (f"signal {status & 127}" if status & 127 else f"exit status {status >> 8}")
    place = f"{end or 'crash'} in {request['target']}"
    outcome = {"index": index, "verdict": end or "crash", "bad": False, "text": text, "place": place}
    print(json.dumps(outcome), file=out, flush=True)
    return index + 1


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cases(request: dict[str, Any], first: int, writing: int) -> None:
    """In the child: runs the cases; never returns."""
    from tests.fuzz.judge import judge

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive the server
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    limit = (int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()) + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def say(**message: Any) -> None:
        os.write(writing, json.dumps(message).encode() + b"\n")

    for index in range(first, request["stop"]):
        say(begins=index, cpu=time.process_time())
        say(index=index, **asdict(judge(request["target"], request["seed"], index)))
    os._exit(0)


if __name__ == "__main__":
    serve()
