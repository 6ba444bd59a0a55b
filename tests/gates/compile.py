"""Builds the objects of all CUDA sources as setup.py does and reads what ptxas and cuobjdump say of them.

They are the very objects that hgfast._cuda is linked from, in the build's own folder: where it has just been built in
this checkout for the default architectures, nothing is left to compile.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.ahead import ENVIRONMENT
from tests.emulator.build import ROOT, NoToolkit, load_setup, locked

ARCHS = ("80", "90a")
OUT = ROOT / "build" / f"temp.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"  # setuptools' build_temp
# ptxas says these only as "info": setmaxnreg ignored, wgmma serialised
SERIALISED = re.compile(r"C75(?:08|10|11|17)\b.*")


@dataclass(frozen=True)
class Kernel:
    """ptxas's report on one instantiation of a kernel."""

    name: str
    registers: int
    shared: int
    stack: int
    spill: int


def nvcc() -> str:
    """The compiler that the build would use.

    Raises:
        NoToolkit: there is none.
    """
    command = load_setup().cuda_compiler.find_nvcc_command()
    if command is None:
        raise NoToolkit("no nvcc in $CUDA_HOME, on PATH or in the Python environment")
    return command


@functools.cache
def compile_all() -> str:
    """Build all objects and logs (what is out of date) with ninja; returns the error, or nothing."""
    setup = load_setup()
    OUT.mkdir(parents=True, exist_ok=True)
    ninja = setup.NinjaFile(OUT)
    with default_architectures():
        compiler = setup.cuda_compiler.describe_nvcc(nvcc())
        ninja.add_nvcc(compiler)
        setup.cuda_kernels(ninja, compiler)
    command = ["ninja", "-C", str(OUT), "-f", "gates.ninja"]
    with locked(OUT):
        ninja.write("gates.ninja")
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    return result.stdout[-6000:] if result.returncode else ""


@contextlib.contextmanager
def default_architectures() -> Iterator[None]:
    """Without HGFAST_CUDA_ARCHS."""
    chosen = os.environ.pop("HGFAST_CUDA_ARCHS", None)
    try:
        yield
    finally:
        if chosen is not None:
            os.environ["HGFAST_CUDA_ARCHS"] = chosen


def object_file(source: str) -> Path:
    """Where a source's code is, for all architectures."""
    return OUT / "csrc" / "cuda" / f"{source}.o"


def ptxas_log(source: str) -> str:
    """All that nvcc and ptxas said."""
    return Path(f"{object_file(source)}.log").read_text()


def kernels(source: str, arch: str) -> list[Kernel]:
    """The kernels of a source, one entry an instantiation."""
    found = []
    blocks = re.split(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", ptxas_log(source))[1:]
    reports = zip(blocks[::3], blocks[1::3], blocks[2::3], strict=True)
    texts = {name: text for name, target, text in reports if target == arch}
    for name, text in zip(demangle(list(texts)), texts.values(), strict=True):
        stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", text)
        registers, shared = re.search(r"Used (\d+) registers", text), re.search(r"(\d+) bytes smem", text)
        assert stack and registers, text
        spill = int(stack.group(2)) + int(stack.group(3))
        size = int(shared.group(1)) if shared else 0
        found.append(Kernel(name, int(registers.group(1)), size, int(stack.group(1)), spill))
    return found


def demangle(names: list[str]) -> list[str]:
    """Kernel names alone: without namespaces, template parameters and arguments."""
    text = subprocess.run(["c++filt", *names], capture_output=True, text=True, check=True).stdout
    lines = [line.replace("(anonymous namespace)::", "").removeprefix("void ") for line in text.splitlines()]
    return [re.split(r"[<(]", line, maxsplit=1)[0].split("::")[-1] for line in lines]


def nvcc_root() -> str:
    """Folder of the toolkit."""
    return str(Path(load_setup().cuda_compiler.describe_nvcc(nvcc()).include).parent)


def tool(name: str) -> str:
    """nvdisasm or cuobjdump: of PATH, of the toolkit, or of the PyPI package nvidia-cuda-<name>.

    Raises:
        NoToolkit: it is nowhere.
    """
    places = [Path(nvcc_root()) / "bin"]
    places += sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/bin"))
    found = shutil.which(name, path=ENVIRONMENT["PATH"]) or next(
        (str(p / name) for p in places if (p / name).exists()), None
    )
    if found is None:
        raise NoToolkit(f"no {name} (pip install nvidia-cuda-{name}==13.2.51)")
    return found


@functools.cache
def sass(source: str, arch: str) -> str:
    """The machine code of a source's kernels."""
    command = [tool("cuobjdump"), "-sass", "-arch", f"sm_{arch}", str(object_file(source))]
    path = f"{ENVIRONMENT['PATH']}:{Path(tool('nvdisasm')).parent}"  # it calls nvdisasm
    environment = ENVIRONMENT | {"PATH": path}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
