"""Runs a command in a process group of its own, with a time limit and its output in the log."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLKIT = "/usr/local/cuda/bin"  # where nvcc, compute-sanitizer and ncu are when PATH does not say so


@dataclass(frozen=True)
class Finished:
    """How a command ended: "ok", "failed" (exit status not 0) or "timeout", and what it printed."""

    status: str
    code: int | None
    output: str

    def tail(self, lines: int = 12) -> str:
        """The last lines of its output."""
        return "\n".join(self.output.rstrip().splitlines()[-lines:])


def search_path() -> str:
    """$PATH, then the toolkit's usual folder."""
    return os.pathsep.join([*filter(None, [os.environ.get("PATH")]), TOOLKIT])


def find_tool(name: str) -> str | None:
    """A tool of the CUDA toolkit."""
    return shutil.which(name, path=search_path())


def environment(site: Path | None = None, **extra: str) -> dict[str, str]:
    """Variables of the processes that are started.

    Args:
        site: folder of the hgfast that the build stage installed; it comes before the checkout. None: hgfast is found
            where this process finds it.
        extra: further variables.
    """
    paths = [str(site)] if site else []
    paths += [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    safe_path = {"PYTHONSAFEPATH": "1"} if site else {}  # else the current folder would hide `site`
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    fixed["PATH"] = search_path()
    return {**os.environ, **fixed, **safe_path, **extra}


def start(command: Sequence[str], env: dict[str, str], *, interactive: bool = False) -> subprocess.Popen[str]:
    """Start a command in the checkout, in a process group of its own, output and errors in one pipe."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a command and every process it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def run(command: Sequence[str], env: dict[str, str], timeout: float, log: Log) -> Finished:
    """Run a command to its end or its time limit."""
    log.write([f"$ {' '.join(command)}   [at most {timeout:.0f} s]"])
    process = start(command, env)
    timer = threading.Timer(max(timeout, 0.1), end, [process])
    timer.start()
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        log.write([line.rstrip("\n")])
    code = process.wait()
    late = not timer.is_alive()
    timer.cancel()
    status = "ok" if code == 0 else "timeout" if late else "failed"
    return Finished(status, code, "".join(lines))


class Log:
    """The file with everything the processes print; several threads write to it."""

    def __init__(self, path: Path) -> None:
        """path: is overwritten."""
        self.path = path
        self._file = path.open("w", errors="replace")
        self._lock = threading.Lock()

    def write(self, lines: Iterable[str]) -> None:
        """Append lines."""
        with self._lock:
            for line in lines:
                self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def python(*arguments: str) -> list[str]:
    """A command of this Python."""
    return [sys.executable, *arguments]
