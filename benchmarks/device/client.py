"""Asks the worker process for jobs; survives its crashes and hangs by starting another one."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.device import process
from benchmarks.device.worker import MARK

START_SECONDS = 120.0  # importing torch from a cold disk


@dataclass(frozen=True)
class Outcome:
    """How a job ended: "ok", "error" (an exception), "crashed" or "timeout"; its value, or a note on what happened."""

    status: str
    value: Any = None
    note: str = ""


class Client:
    """One worker at a time."""

    def __init__(self, device: str, env: dict[str, str], log: process.Log) -> None:
        """device: "cuda" or "cpu"; env: the worker's environment."""
        self.device, self.env, self.log = device, env, log
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._last_lines: list[str] = []

    def call(
        self, job: str, timeout: float, on_partial: Callable[[Any], None] = lambda value: None, **args: Any
    ) -> Outcome:
        """Have a job of jobs.py done within `timeout` seconds, a new worker's start not counted."""
        if self._process is None or self._process.poll() is not None:
            outcome = self._start()
            if outcome.status != "ok":
                return outcome
        assert self._process is not None and self._process.stdin is not None
        self.log.write([f"# {job} {args}   [at most {timeout:.0f} s]"])
        try:
            self._process.stdin.write(json.dumps({"job": job, "args": args}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._lost()
        return self._wait(timeout, on_partial)

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            process.end(self._process)
            self._process = None

    def _start(self) -> Outcome:
        self._answers, self._last_lines = queue.Queue(), []
        command = process.python("-m", "benchmarks.device.worker", self.device)
        self._process = process.start(command, self.env, interactive=True)
        threading.Thread(target=self._read, args=(self._process, self._answers), daemon=True).start()
        return self._wait(START_SECONDS, lambda value: None)

    def _read(self, source: subprocess.Popen[str], answers: queue.Queue[dict[str, Any] | None]) -> None:
        assert source.stdout is not None
        for line in source.stdout:
            if line.startswith(MARK):
                answers.put(json.loads(line[len(MARK) :]))
            elif line.strip():
                self._last_lines = [*self._last_lines[-11:], line.rstrip("\n")]
                self.log.write([line.rstrip("\n")])
        answers.put(None)

    def _wait(self, timeout: float, on_partial: Callable[[Any], None]) -> Outcome:
        end = time.monotonic() + timeout
        while True:
            try:
                reply = self._answers.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                self.close()
                return Outcome("timeout", note=f"not done after {timeout:.0f} s")
            if reply is None:
                return self._lost()
            if "partial" in reply:
                on_partial(reply["partial"])
            elif "error" in reply:
                if reply["fatal"]:
                    self.close()
                return Outcome("error", note=reply["error"])
            else:
                return Outcome("ok", reply.get("done"))

    def _lost(self) -> Outcome:
        assert self._process is not None
        code = self._process.wait()
        self.close()
        return Outcome("crashed", note=f"exit status {code}: " + " | ".join(self._last_lines[-4:]))
