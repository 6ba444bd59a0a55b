"""Builds the emulator's module: the bindings and kernels of csrc, compiled as C++ against tests/emulator, with ninja.

Variants: "fast" for every test; "check" instruments each memory access of the kernels (see src/instrumentation.cpp)
and is 10 to 20 times slower.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pybind11

from tests.ahead import ENVIRONMENT

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
OUT = HERE / "build"
PROBES_FOR_NVCC = ("matrix.cu", "hopper.cu", "error.cu")  # of probes/: those of instructions
COMMON = "-std=c++17 -g1 -fPIC -fvisibility=hidden -march=native -Wall -Wno-unknown-pragmas -Wno-unused -Wno-psabi"
SANITIZERS = "-fsanitize=thread -fsanitize=alignment,bounds,shift,integer-divide-by-zero,signed-integer-overflow"
# -O1, without vectorisation: GCC 12 turns a loop of conditional stores into a masked vextractf64x4, which faults for
# lanes that are masked out, and so reports accesses beyond an array that no thread makes. -O2 runs no faster.
KERNEL_FLAGS = {
    "fast": "-O1",
    "check": f"-O1 {SANITIZERS} -fno-sanitize-recover=all -ftrivial-auto-var-init=pattern",
}


def emulator_environment(**extra: str) -> dict[str, str]:
    """Variables of a pytest process on the emulator: one thread, and an installed hgfast before the checkout's."""
    return {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", **extra}


class NoToolkit(RuntimeError):
    """There is no nvcc, whose headers the emulator needs."""


class BuildError(RuntimeError):
    """The compiler's messages, where the emulator does not build."""


@functools.cache
def toolkit_include() -> str:
    """Folder of CUDA's headers, found as the build of hgfast._cuda finds them."""
    setup = load_setup()
    command = setup.cuda_compiler.find_nvcc_command()
    if command is None:
        raise NoToolkit("the emulator needs the headers of a CUDA toolkit: no nvcc in $CUDA_HOME, PATH or the wheels")
    return setup.cuda_compiler.describe_nvcc(command).include


@functools.cache
def load_setup() -> ModuleType:
    """setup.py as a module."""
    spec = importlib.util.spec_from_file_location("hgfast_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def ninja_file() -> str:
    """build.ninja: for each variant its kernels and two modules; what calls or runs kernels is the same for all."""
    cxx, csrc = os.environ.get("CXX", "c++"), ROOT / "csrc"
    includes = f"-I{csrc} -I{HERE / 'include'} -I{toolkit_include()}"
    includes += f" -I{sysconfig.get_path('include')}"
    defines = "-DHGFAST_EMULATOR -DHGFAST_BACKEND=cuda -DHGFAST_MODULE=_cuda"
    defines += """ '-DHGFAST_CUDA_ARCHS="emulator"' '-DHGFAST_NVCC_VERSION="none"'"""
    command = f"{cxx} -MMD -MF $out.d {COMMON} {defines} {includes} $flags -c $in -o $out"
    lines = [f"rule cxx\n  command = {command}\n  depfile = $out.d\n  deps = gcc\n  description = emulator $out"]
    lines.append(f"rule link\n  command = {cxx} -shared -Wl,-Bsymbolic $in -o $out -ldl\n  description = link $out")

    def objects(folder: Path, sources: list[Path], flags: str) -> str:
        targets = [f"{folder / source.name}.o" for source in sources]
        for target, source in zip(targets, sources, strict=True):
            lines.append(f"build {target}: cxx {source}\n  flags = {flags}")
        return " ".join(targets)

    runtime = objects(OUT / "runtime", sorted((HERE / "src").glob("*.cpp")), f"-O3 -I{HERE / 'src'}")
    callers = load_setup().unity(OUT / "bindings.cpp", csrc / "bindings", csrc / "cuda")
    # Of this environment alone: in another one the kernels are found as they were built.
    bindings = objects(OUT, [callers], f"-O0 -I{pybind11.get_include()}")
    for variant, optimisation in KERNEL_FLAGS.items():
        out, flags = OUT / variant, f"-x c++ {optimisation}"
        kernels = objects(out / "kernels", sorted((csrc / "cuda").glob("*.cu")), flags)
        probes = objects(out / "probes", sorted((HERE / "probes").glob("*.cu")), flags)
        lines.append(f"build {out / '_cuda.so'}: link {runtime} {bindings} {kernels}")
        lines.append(f"build {out / 'probes.so'}: link {runtime} {probes}")
    return "\n".join(lines) + "\n"


def build(variant: str, module: str = "_cuda.so") -> Path:
    """Build what is out of date and return the module's path.

    Args:
        variant: "fast" or "check".
        module: "_cuda.so", which has the functions of hgfast._cuda, or "probes.so", the kernels of probes/ for ctypes.
    """
    target = OUT / variant / module
    make(str(target))
    return target


def make(*targets: str) -> None:
    """Build what is out of date of the targets; of all modules if none is named."""
    OUT.mkdir(exist_ok=True)
    path, text = OUT / "build.ninja", ninja_file()
    with locked(OUT):
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        error = _run_ninja(*targets)
    if error:
        raise BuildError(error)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Builds in a folder one after the other, if processes of pytest ask for them at once."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def _run_ninja(*targets: str) -> str:
    """Why they do not build, or nothing. Asked once a process: a failure would only repeat itself."""
    result = subprocess.run(["ninja", "-C", str(OUT), *targets], capture_output=True, text=True, check=False)
    return f"the emulator does not build:\n{result.stdout[-6000:]}{result.stderr[-2000:]}" if result.returncode else ""


@dataclass(frozen=True)
class CompileCommand:
    """One object of a finished build: how it was made and from what."""

    group: str
    source: Path
    target: str
    line: str
    includes: frozenset[str]  # names of the files of csrc/cuda that it depends on


def compile_commands(variant: str, module: str = "_cuda.so") -> list[CompileCommand]:
    """The objects of a module that `build` has made."""
    commands = json.loads(_ninja("-t", "compdb", "cxx"))
    query = _ninja("-t", "query", str(OUT / variant / module))
    targets = query.split("input: link", 1)[1].split("outputs:")[0].split()
    found = []
    for entry in commands:
        target = entry["output"]
        if target not in targets:
            continue
        depends = _ninja("-t", "deps", target).split()
        includes = frozenset(Path(path).name for path in depends if "csrc/cuda/" in path)
        group = Path(target).parent.name
        found.append(CompileCommand(group, Path(entry["file"]), target, entry["command"], includes))
    return found


def _ninja(*arguments: str) -> str:
    return subprocess.run(["ninja", "-C", str(OUT), *arguments], capture_output=True, text=True, check=True).stdout
