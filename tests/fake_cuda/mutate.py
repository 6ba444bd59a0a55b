"""Plants each mistake of mutants.txt in the running process and has the test that it names notice it.

    python -m tests.fake_cuda.mutate [text in the mistakes' names]

The command fails if a mistake is not noticed. The ordinary tests try the quick ones (tests/test_fake_cuda_mutants.py).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from tests.emulator.mutants import Mutant, read_mutants

ROOT = Path(__file__).parents[2]
MUTANTS = read_mutants(Path(__file__).with_name("mutants.txt"))
ALL = "HGFAST_ALL_MISTAKES"  # set: the tests try all whose names have this text, and the tests that they name, too


def source_of(mutant: Mutant) -> Path:
    """The file as Python has imported it."""
    module = importlib.import_module(mutant.file.removesuffix(".py").replace("/", "."))
    assert module.__file__ is not None
    return Path(module.__file__)


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Within it the functions of a file have the mistake."""
    path = source_of(mutant)
    text = path.read_text()
    pairs = dict(_pairs(compile(text, str(path), "exec"), compile(mutant.apply(text), str(path), "exec")))
    changed = [
        (function, function.__code__)
        for function in _functions()
        if function.__code__.co_filename == str(path)
        and function.__code__ != pairs.get(function.__code__, function.__code__)
    ]
    assert changed, f"no function has the lines of {mutant.name!r}"
    for function, code in changed:
        function.__code__ = pairs[code]
    try:
        yield
    finally:
        for function, code in changed:
            function.__code__ = code


def _functions() -> list[FunctionType]:
    """All that live, those too that tests/conftest.py has hidden from the collector."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    functions = [each for each in gc.get_objects() if type(each) is FunctionType]
    if frozen:
        gc.freeze()
    return functions


def _pairs(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    yield old, new
    inner = ([part for part in code.co_consts if isinstance(part, CodeType)] for code in (old, new))
    for pair in zip(*inner, strict=True):
        yield from _pairs(*pair)


if __name__ == "__main__":
    os.environ[ALL] = " ".join(sys.argv[1:])
    sys.exit(pytest.main([str(ROOT / "tests/test_fake_cuda_mutants.py"), "-v", "-p", "no:randomly"]))
