"""Builds modules that run on the PTX interpreter: nvcc's own objects, with PTX as text inside, linked with src/.

"_cuda.so" has the functions of hgfast._cuda, "probes.so" the kernels of tests/emulator/probes. Both launch their
kernels through the code that nvcc made for that, which calls the CUDA runtime; src/ is that runtime, and executes the
PTX. "interpreter.so" has no kernels: it runs those that are given to it as text.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sysconfig
from pathlib import Path

import pybind11

from tests.emulator.build import PROBES_FOR_NVCC, ROOT, BuildError, NoToolkit, load_setup, locked

HERE = Path(__file__).parent
OUT = HERE / "build"
PROBES = ROOT / "tests" / "emulator" / "probes"
WRAPPER_TESTS = ("tests/test_ptx.py", "tests/test_ptx_tma.py")  # which run them
ARCHS = ("80", "90a")
MODULES = ("interpreter.so", "probes.so", "_cuda.so")
# Products and sums stay apart: PTX says where they are fused. -march for the conversions of 16-bit floats.
INTERPRETER_FLAGS = "-std=c++17 -O2 -ftree-vectorize -march=native -ffp-contract=off -fno-math-errno -fPIC -g1"
# GCC 12 warns of bounds where it has folded two functions into one.
INTERPRETER_FLAGS += " -fvisibility=hidden -Wall -Wextra -Wno-psabi -Wno-array-bounds"
NVCC_FLAGS = "-std=c++17 -O3 -DNDEBUG -lineinfo --expt-relaxed-constexpr -Xcompiler=-fPIC"
NVCC_FLAGS += " -Xcompiler=-fvisibility=hidden --no-compress -DHGFAST_SM90A -DHGFAST_BACKEND=cuda -DHGFAST_MODULE=_cuda"
DEFINES = """-DHGFAST_BACKEND=cuda -DHGFAST_MODULE=_cuda '-DHGFAST_CUDA_ARCHS="80;90a"' '-DHGFAST_NVCC_VERSION="ptx"'"""


@functools.cache
def nvcc() -> tuple[str, str]:
    """The compiler's command, and the folder of its headers.

    Raises:
        NoToolkit: there is none.
    """
    compiler = load_setup().cuda_compiler
    command = compiler.find_nvcc_command()
    if command is None:
        raise NoToolkit("the PTX interpreter needs nvcc: it is not in $CUDA_HOME, on PATH or in the wheels")
    return command, compiler.describe_nvcc(command).include


def gencode(archs: tuple[str, ...] = ARCHS) -> str:
    """nvcc's options for PTX, and nothing but PTX, of these architectures."""
    return " ".join(f"-gencode=arch=compute_{arch},code=compute_{arch}" for arch in archs)


class NinjaFile:
    """build.ninja of all modules."""

    def __init__(self) -> None:
        """The rules and the modules."""
        self.lines: list[str] = []
        command, toolkit = nvcc()
        cxx, csrc = os.environ.get("CXX", "c++"), ROOT / "csrc"
        includes = f"-I{csrc} -isystem{toolkit} -isystem{pybind11.get_include()} -I{sysconfig.get_path('include')}"
        self._rule("cxx", f"{cxx} -MMD -MF $out.d $flags {includes} -c $in -o $out")
        self._rule("link", f"{cxx} -shared -Wl,-Bsymbolic $in -o $out")
        self._rule("nvcc", f"{command} -MMD -MF $out.d {NVCC_FLAGS} {gencode()} -I{csrc} -c $in -o $out")
        self.interpreter = self.objects("interpreter", sorted((HERE / "src").glob("*.cpp")), "cxx", INTERPRETER_FLAGS)
        callers = load_setup().unity(OUT / "bindings.cpp", csrc / "bindings", csrc / "cuda")
        bindings = self.objects("bindings", [callers], "cxx", f"-std=c++17 -O0 -fPIC -fvisibility=hidden -w {DEFINES}")
        self.module("_cuda.so", bindings + self.objects("kernels", sorted((csrc / "cuda").glob("*.cu")), "nvcc"))
        self.module("interpreter.so", [])
        self.module("probes.so", self.objects("probes", [PROBES / name for name in PROBES_FOR_NVCC], "nvcc"))

    def _rule(self, name: str, command: str) -> None:
        depfile = "\n  depfile = $out.d\n  deps = gcc" if "-MF" in command else ""
        self.lines.append(f"rule {name}\n  command = {command}{depfile}\n  description = {name} $out")

    def objects(self, folder: str, sources: list[Path], rule: str, flags: str = "") -> list[str]:
        """Compilations; returns the objects' paths."""
        targets = [f"{OUT / folder / source.name}.o" for source in sources]
        for target, source in zip(targets, sources, strict=True):
            self.lines.append(f"build {target}: {rule} {source}\n  flags = {flags}")
        return targets

    def module(self, name: str, objects: list[str]) -> None:
        """One module, with the interpreter inside."""
        self.lines.append(f"build {OUT / name}: link {' '.join(objects + self.interpreter)}")


@functools.cache
def build(module: str = "_cuda.so") -> Path:
    """Build what is out of date of a module, as many compilers at a time as $MAX_JOBS says, and return its path.

    Raises:
        NoToolkit: there is no nvcc.
        BuildError: it does not compile.
    """
    OUT.mkdir(exist_ok=True)
    target, text = OUT / module, "\n".join(NinjaFile().lines) + "\n"
    with locked(OUT):
        load_setup().write_if_new(OUT / "build.ninja", text)
        command = ["ninja", "-C", str(OUT), *load_setup().ninja_jobs(), str(target)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildError(f"it does not build:\n{result.stdout[-6000:]}{result.stderr[-2000:]}")
    return target
