"""hgfast._cuda brings its own CUDA runtime, and keeps it to itself: torch may have one of another major beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hgfast import _native
from tests.emulator.build import ROOT

TOLD = 99  # exit status of a process that called the other runtime
CALLS_OURS = """
import importlib.machinery, importlib.util
loader = importlib.machinery.ExtensionFileLoader("_cuda", {path!r})  # without torch, which may want the other runtime
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_cuda", loader))
loader.exec_module(module)
module.backend_info()
"""
CALLS_ANY = "import ctypes; ctypes.CDLL(None).cudaGetDeviceCount(None)"


@pytest.fixture
def module() -> Path:
    if _native._cuda is None:
        pytest.skip(f"there is no hgfast._cuda: {_native._cuda_error}")
    assert _native._cuda.__file__ is not None
    return Path(_native._cuda.__file__)


def runtime_functions() -> list[str]:
    """Those of the CUDA runtime that the sources call, and that nvcc's own code does."""
    texts = [path.read_text() for path in (ROOT / "csrc" / "cuda").rglob("*.*") if path.suffix in (".cpp", ".cuh")]
    called = set(re.findall(r"\b(cuda[A-Z]\w+)\(", "".join(texts)))
    return sorted({*called, "__cudaRegisterFatBinary", "__cudaRegisterFunction", "cudaLaunchKernel"})


@pytest.fixture
def other_runtime(tmp_path: Path) -> Path:
    """A libcudart that ends the process when any function of it is called."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    names = runtime_functions()
    assert "cudaGetDeviceCount" in names and "cudaFuncSetAttribute" in names
    source, target = tmp_path / "other.cpp", tmp_path / "libcudart.so.12"
    functions = [f"void {name}() {{ _exit({TOLD}); }}" for name in names]
    source.write_text("\n".join(["#include <unistd.h>", 'extern "C" {', *functions, "}"]))
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(target)], check=True)
    return target


def status(code: str, other_runtime: Path) -> int:
    """Of a Python process in which the other runtime's functions come first."""
    env = {**os.environ, "LD_PRELOAD": str(other_runtime)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True).returncode


def test_another_runtime_in_the_process_is_not_called(module: Path, other_runtime: Path) -> None:
    assert status(CALLS_ANY, other_runtime) == TOLD  # so that this test could fail
    assert status(CALLS_OURS.format(path=str(module)), other_runtime) == 0


def test_no_function_of_the_runtime_is_given_to_others_or_asked_of_them(module: Path) -> None:
    if shutil.which("nm") is None or shutil.which("readelf") is None:
        pytest.skip("there are no binutils")
    table = subprocess.run(["nm", "-D", str(module)], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1].split("@")[0] for line in table.splitlines()]
    assert "PyInit__cuda" in names
    assert [name for name in names if re.match(r"_*(cu[A-Z]|cuda|nv|fatbin)", name)] == []
    dynamic = subprocess.run(["readelf", "-d", str(module)], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert libraries and not [name for name in libraries if re.match("lib(cu|nv)", name)]
