"""The verdict on one case, found in the process that runs it."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fuzz.cases import TARGETS, Case
from tests.fuzz.draw import Draw

VERDICTS = ("broken", "crash", "hang", "memory", "wrong", "refused-valid", "unclear", "unnamed")
ALLOWED_FACTOR, ALLOWED_BYTES = 4, 64 << 20
NOT_COUNTED = 1 << 62
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Outcome:
    """How a case ended: "ok" or one of VERDICTS, whether it was a bad one, what came and where it came from.

    "broken" is a fault of the suite: the case could not be made, or its result not be checked.
    """

    verdict: str
    bad: bool
    text: str = ""
    place: str = ""


def judge(name: str, seed: int, index: int) -> Outcome:
    """Make a case and run it."""
    draw = Draw(name, seed, index)
    try:
        return _judge(name, draw)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return Outcome("broken", False, f"{type(error).__name__}: {error}"[:300], where)
    finally:
        draw.close()


def _judge(name: str, draw: Draw) -> Outcome:
    case = TARGETS[name].make(draw)
    before = start_of_peak()
    result, outcome = _run(case)
    grown = _peak() - before
    limit = ALLOWED_FACTOR * (size_of(case.inputs) + size_of(result) + case.outputs) + ALLOWED_BYTES
    if grown > limit and outcome.verdict == "ok":
        text = f"{grown >> 20} MB, where {limit >> 20} MB are allowed {case.spoiled}"
        return Outcome("memory", outcome.bad, text, name)
    return outcome


def _run(case: Case) -> tuple[Any, Outcome]:
    bad = case.blame is not None
    try:
        result = case.run()
    except case.errors as error:
        return None, _refusal(case, error)
    except Exception as error:
        if isinstance(error, (MemoryError, RuntimeError)) and _is_refused_allocation(error):
            return None, Outcome("ok" if case.either else "memory", bad, _text(case, error), _place(error))
        return None, Outcome("unclear" if bad else "refused-valid", bad, _text(case, error), _place(error))
    if bad:
        if case.either:
            return result, Outcome("ok", bad)
        argument = case.spoiled.partition(":")[0]
        return result, Outcome("wrong", bad, f"accepted {case.spoiled}", f"accepted {argument}")
    complaint = case.check(result)
    return result, Outcome("ok" if complaint is None else "wrong", bad, complaint or "", (complaint or "")[:30])


def _refusal(case: Case, error: BaseException) -> Outcome:
    if case.blame is None:
        return Outcome("refused-valid", False, _text(case, error), _place(error))
    missing = [word for word in case.blame if not any(_names(str(error), one) for one in word.split("|"))]
    if missing:
        text = f"does not name {', '.join(missing)}: {_text(case, error)}"
        return Outcome("unnamed", True, text, _place(error))
    return Outcome("ok", True)


def _names(message: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message) is not None


def _is_refused_allocation(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _text(case: Case, error: BaseException) -> str:
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{case.spoiled or 'good call'}: {message[:240]}"


def _place(error: BaseException) -> str:
    """The innermost line of hgfast that the error came through, and its type."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/hgfast/" in frame.filename] or frames
    file = own[-1].filename.rpartition("hgfast/")[2]
    return f"{file}:{own[-1].name} {type(error).__name__}"


def size_of(value: Any, depth: int = 3) -> int:
    """Bytes of the tensors, arrays, texts and files in a value."""
    if isinstance(value, torch.Tensor):
        try:
            return value.numel() * value.element_size()
        except (RuntimeError, ValueError):  # a sparse or uninitialised one
            return 0
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Path):
        return value.stat().st_size if value.is_file() else 0
    if depth and isinstance(value, dict):
        return sum(size_of(item, depth - 1) for item in value.values())
    if depth and isinstance(value, (list, tuple)):
        return sum(size_of(item, depth - 1) for item in value)
    return 0


def start_of_peak() -> int:
    """Bytes in memory now; the kernel counts the peak from here on."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return NOT_COUNTED  # this kernel does not: nothing is said of memory
    return _line("VmRSS")


def _peak() -> int:
    return _line("VmHWM")


def _line(name: str) -> int:
    return next(int(line.split()[1]) << 10 for line in _STATUS.read_text().splitlines() if line.startswith(name))
