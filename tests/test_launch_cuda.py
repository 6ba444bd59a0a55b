"""Launches as nvcc compiles them, on a runtime that writes down its calls: HGFAST_SYNC, and what errors are told."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cuda_host import compile_host
from tests.emulator.build import NoToolkit

STREAM = 7
BAD_LAUNCH, BAD_ADDRESS = 9, 700  # cudaErrorInvalidConfiguration, cudaErrorIllegalAddress
FIRST, SECOND = "first_kernel on stream 7", "second_kernel on stream 7"
WAIT = "wait on stream 7"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return compile_host(tmp_path_factory.mktemp("host"), "launch.cu", "launch_runtime.cpp")
    except NoToolkit as error:
        pytest.skip(str(error))


@pytest.fixture(params=["1", "yes", "0", "", None], ids=lambda value: f"HGFAST_SYNC={value}")
def value(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Of the variable, which is read at a library's first launch; None where there is none."""
    monkeypatch.delenv("HGFAST_SYNC", raising=False)
    if request.param is not None:
        monkeypatch.setenv("HGFAST_SYNC", request.param)
    return request.param


@pytest.fixture
def waits(value: str | None) -> bool:
    """Whether that asks to wait for each kernel."""
    return value in ("1", "yes")


@pytest.fixture
def library(compiled: Path, tmp_path: Path, value: str | None) -> Any:
    """One that has launched nothing yet: a library of another name has variables of its own."""
    library = ctypes.CDLL(str(shutil.copy(compiled, tmp_path)))
    library.launch_kernel.restype = library.take_calls.restype = ctypes.c_char_p
    return library


def launch(library: Any, which: int) -> str:
    """What is wrong with a launch, or nothing."""
    return library.launch_kernel(which, ctypes.c_size_t(STREAM), ctypes.c_size_t(0)).decode()


def calls(library: Any) -> list[str]:
    """What the runtime was asked for since the last time."""
    return library.take_calls().decode().splitlines()


def test_each_kernel_is_waited_for_if_that_is_wanted(library: Any, waits: bool) -> None:
    assert launch(library, 0) == launch(library, 1) == ""
    assert calls(library) == ([FIRST, WAIT, SECOND, WAIT] if waits else [FIRST, SECOND])


def test_an_error_names_the_kernel_that_made_it(library: Any, waits: bool) -> None:
    """Without the wait it would be told by whatever comes next."""
    assert launch(library, 0) == ""
    library.set_errors(0, BAD_ADDRESS)
    told = "CUDA: second_kernel: an illegal memory access was encountered" if waits else ""
    assert launch(library, 1) == told
    library.set_errors(0, 0)
    assert launch(library, 0) == "", "an error is told once"


def test_nothing_is_waited_for_in_a_capture(library: Any, waits: bool) -> None:
    library.set_capturing(1)
    library.set_errors(0, BAD_ADDRESS)
    assert launch(library, 0) == "" and calls(library) == [FIRST]
    library.set_capturing(0)
    library.set_errors(0, 0)
    assert launch(library, 1) == "" and calls(library) == ([SECOND, WAIT] if waits else [SECOND])


def test_a_launch_that_is_refused_is_told_at_once(library: Any, waits: bool) -> None:
    library.set_errors(BAD_LAUNCH, 0)
    assert launch(library, 1) == "CUDA: launch of second_kernel: invalid configuration"
    assert calls(library) == [SECOND]
    library.set_errors(0, 0)
    assert launch(library, 0) == ""
