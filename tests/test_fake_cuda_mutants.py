"""Mistakes planted in what Python does on CUDA: the fake devices notice them; the slow ones are a separate command."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.mutants import Mutant
from tests.fake_cuda.machine import Machine
from tests.fake_cuda.mutate import ALL, MUTANTS, planted, source_of
from tests.test_device_cuda import quick  # noqa: F401  (a fixture, as the next ones)
from tests.test_train_cuda import config, figures  # noqa: F401

SLOW = ("train_cuda::", "train_graph::", "device_cuda::", "plans_that_are_dropped", "calls_on_several")
QUICK = [mutant for mutant in MUTANTS if not any(text in mutant.name for text in SLOW)]
TRIED = [mutant for mutant in MUTANTS if os.environ[ALL] in mutant.name] if ALL in os.environ else QUICK


def noticing(mutant: Mutant) -> tuple[Any, dict[str, Any]]:
    """The test that a mistake names, and the parameters that it gives to it."""
    file, name, chosen = re.fullmatch(r".*, (\w+)::(\w+)(?:\[(.+)\])?", mutant.name).groups()  # type: ignore[union-attr]
    function = getattr(importlib.import_module(f"tests.test_{file}"), f"test_{name}")
    parameters: dict[str, Any] = {}
    ids = chosen.split("-") if chosen else []
    for mark, wanted in zip(getattr(function, "pytestmark", []), ids, strict=True):
        parameters[mark.args[0]] = next(v for v in mark.args[1] if wanted in (str(v), getattr(v, "__name__", "")))
    return function, parameters


def verdict(mutant: Mutant, request: pytest.FixtureRequest) -> str:
    """What the mistake's test says; nothing if it is content."""
    function, given = noticing(mutant)
    names = [name for name in inspect.signature(function).parameters if name not in given]
    given |= {name: request.getfixturevalue(name) for name in names}
    try:
        function(**given)
    except (AssertionError, RuntimeError, TypeError, ValueError, pytest.fail.Exception) as error:
        return f"{type(error).__name__}: {error}"
    return "; ".join(request.getfixturevalue("gpu").faults)


def test_the_table_fits_the_sources() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    for mutant in MUTANTS:
        text = source_of(mutant).read_text()
        assert mutant.apply(text) != text
        assert noticing(mutant)


def case_of(mutant: Mutant) -> Any:
    marks = [pytest.mark.verify] if re.search("(verify|first_call)_cuda::", mutant.name) else []
    return pytest.param(mutant, id=mutant.name, marks=marks)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("mutant", [case_of(mutant) for mutant in TRIED])
def test_a_mistake_is_noticed(
    mutant: Mutant, gpu: Machine, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if "device_cuda::" in mutant.name:
        request.getfixturevalue("quick")
    if ALL in os.environ:
        assert verdict(mutant, request) == "", "the test is not content with what is right"
    with planted(mutant):
        assert verdict(mutant, request), "nobody noticed"
    gpu.faults.clear()
