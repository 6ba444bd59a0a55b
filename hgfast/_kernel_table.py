"""What this machine has found out of its cards' kernels: which are right for which call, and how long they take.

In memory, and in one file a card under $XDG_CACHE_HOME/hgfast (~/.cache/hgfast): `kernels-<FORMAT>-<digest>.json`. The
digest is that of all that the findings depend on (`identity_of`): another driver, torch or build of hgfast begins anew.
Files are written whole, under a lock and with what others have written since; a damaged one counts as none, and where
nothing can be written the findings live as long as the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hgfast._times import Measured, Time
from hgfast.files import write_json

if TYPE_CHECKING:
    from hgfast._library import Library

log = logging.getLogger("hgfast")
FORMAT = 2
DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """Of one kernel for one call. right: None where it was not tried; why: it is wrong; times in microseconds.

    card and host are what a call takes them, the errors the standard errors of these; None where it was not timed.
    """

    right: bool | None = None
    why: str = ""
    card: float | None = None
    card_error: float | None = None
    host: float | None = None
    host_error: float | None = None

    @property
    def time(self) -> Time | None:
        """How long a call takes."""
        if self.card is None or self.card_error is None or self.host is None or self.host_error is None:
            return None
        return Time(Measured(self.card, self.card_error), Measured(self.host, self.host_error))


def as_fields(time: Time) -> dict[str, float]:
    """Return the time as a finding has it."""
    card, host = time.card, time.host
    return {"card": card.value, "card_error": card.error, "host": host.value, "host_error": host.error}


class Table:
    """Findings of one card; `name`s are of kernels and calls, as people read them."""

    def __init__(self, identity: dict[str, str], folder: Path | None = None) -> None:
        """folder: of the file; None to write none."""
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self.identity = identity
        self.path = None if folder is None else folder / f"kernels-{FORMAT}-{digest}.json"
        self._lock = threading.RLock()
        self._new: set[str] = set()  # what the file does not have yet
        self._timed: set[str] = set()  # in this process
        self._findings = {} if self.path is None else read(self.path)[1]

    def get(self, kernel: str, call: str) -> Finding:
        """Return what is known."""
        return self._findings.get(f"{kernel} | {call}", Finding())

    def note(self, kernel: str, call: str, **found: Any) -> None:
        """Add or change fields of a finding; `save` writes it."""
        with self._lock:
            name = f"{kernel} | {call}"
            self._findings[name] = replace(self._findings.get(name, Finding()), **found)
            self._new.add(name)
            if "card" in found:
                self._timed.add(name)

    def was_timed_now(self, kernel: str, call: str) -> bool:
        """Whether its time was noted by this process."""
        return f"{kernel} | {call}" in self._timed

    def save(self) -> None:
        """Write what is new, with what other processes have found since."""
        with self._lock:
            if self.path is None or not self._new:
                return
            try:
                with _locked(self.path):
                    new = {name: self._findings[name] for name in self._new}
                    self._findings = {**self._findings, **read(self.path)[1], **new}
                    content = {name: asdict(finding) for name, finding in sorted(self._findings.items())}
                    write_json(self.path, {"format": FORMAT, "identity": self.identity, "kernels": content}, indent=1)
                self._new.clear()
            except OSError as error:
                log.info("what was found out of kernels is not kept: %s", error)

    def failures(self) -> dict[str, str]:
        """Why kernels were turned away, by their names and calls."""
        return {name: finding.why for name, finding in sorted(self._findings.items()) if finding.right is False}


def read(path: Path) -> tuple[dict[str, str], dict[str, Finding]]:
    """Identity and findings of a file; nothing where there is none, or none that this version has written."""
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            return {}, {}
        findings = {str(name): Finding(**fields) for name, fields in content["kernels"].items()}
        if not all(map(_is_sound, findings.values())):
            return {}, {}
        return {str(key): str(value) for key, value in content["identity"].items()}, findings
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}, {}


def _is_sound(finding: Finding) -> bool:
    times = finding.card, finding.card_error, finding.host, finding.host_error
    sound = times == (None,) * 4 or all(map(_is_time, times))
    return sound and isinstance(finding.why, str) and finding.right in (None, True, False)


def _is_time(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < 1e12


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one writer in at a time; on file systems without locks, where the last one wins, as many as come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def folder() -> Path | None:
    """Return the folder of the files; None where there is no home."""
    cache_home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache_home):
        return Path(cache_home) / "hgfast"
    with contextlib.suppress(RuntimeError):
        return Path.home() / ".cache" / "hgfast"
    return None


def known_tables() -> list[tuple[dict[str, str], dict[str, Finding]]]:
    """Read all files that can be read, the newest first."""
    place = folder()
    files = [] if place is None else sorted(place.glob(f"kernels-{FORMAT}-*.json"), key=_age, reverse=True)
    return [read(path) for path in files]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0


_tables: dict[tuple[str, str], Table] = {}


def table_of(lib: Library, device: torch.device) -> Table:
    """Return the table of a device, read once a process; lib is the native module."""
    identity = identity_of(lib, device)
    key = json.dumps(identity, sort_keys=True), str(folder())
    if key not in _tables:
        _tables[key] = Table(identity, folder())
    return _tables[key]


def identity_of(lib: Library, device: torch.device) -> dict[str, str]:
    """Return what findings depend on: card, driver, torch (with its cuDNN) and the compiled kernels."""
    card = lib.current_device()
    on_cuda = device.type == "cuda"
    return {
        "card": torch.cuda.get_device_name(device) if on_cuda else "host emulator",
        "capability": f"{card.major}.{card.minor}",
        "multiprocessors": str(card.multiprocessors),
        "driver": driver_version() if on_cuda else "none",
        "torch": torch.__version__,
        "module": digest(lib.__file__),
    }


@cache
def driver_version() -> str:
    """Return the kernel module's line where it can be read, else the newest CUDA that the driver knows."""
    with contextlib.suppress(OSError):
        return DRIVER.read_text().splitlines()[0].removeprefix("NVRM version: ")
    get = getattr(torch._C, "_cuda_getDriverVersion", None)
    return f"CUDA {get()}" if get is not None else "unknown"


@cache
def digest(path: str) -> str:
    """Return the digest of a file, 16 hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
