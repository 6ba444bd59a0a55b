"""Builds hgfast._cpu and, where an nvcc is found, hgfast._cuda with ninja. torch plays no part in the build.

Environment:
    HGFAST_CUDA=0|1         leave CUDA out | require it (default: build it if an nvcc is found that can)
    HGFAST_CUDA_ARCHS       e.g. "80;90a" (default: SASS for 8.x and Hopper, PTX of compute_80 for newer cards)
    HGFAST_CPU_VARIANTS=0   compile the CPU kernels once, not for each instruction set; with CXXFLAGS=-march=native, say
    CUDA_HOME, CXX, CXXFLAGS, LDFLAGS, MAX_JOBS as usual
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CSRC = ROOT / "csrc"
sys.path.append(str(CSRC))

import cuda_compiler  # noqa: E402
from cuda_compiler import Nvcc  # noqa: E402

CXX_FLAGS = "-std=c++17 -O3 -DNDEBUG -fPIC -fvisibility=hidden -fno-math-errno -Wall -Wextra -Wno-unknown-pragmas"
# GCC 12 calls the placeholders of its own intrinsics uninitialised
CXX_FLAGS += " -Wno-psabi -Wno-maybe-uninitialized"
BINDING_FLAGS = "-O1"  # they only pass arguments on; a quarter less to compile than -O3
NVCC_FLAGS = "-std=c++17 -O3 -DNDEBUG -lineinfo --expt-relaxed-constexpr -Xcompiler=-fPIC"
NVCC_FLAGS += f" -Xcompiler=-fvisibility=hidden {shlex.quote(f'-I{CSRC}')}"
AVX512 = "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mbmi2 -mprefer-vector-width=512"
X86_VARIANTS = {
    "baseline": "",
    "avx2": "-mavx2 -mfma -mf16c -mbmi2",
    "avx512": AVX512,
    "avx512_bf16": f"{AVX512} -mavx512bf16 -mavx512vnni",
    "amx_bf16": f"{AVX512} -mavx512bf16 -mavx512vnni -mamx-tile -mamx-bf16 -mamx-int8",
}
BF16_SOURCES = (
    "conv.cpp",
    "conv_bf16.cpp",
    "conv_int8.cpp",
    "conv_int8_pack.cpp",
    "conv_layout.cpp",
    "conv_pack.cpp",
    "conv_pack_pairs.cpp",
)  # what avx512_bf16 is more than avx512


def cpu_variants() -> dict[str, str]:
    """Name and flags of each instruction set that the CPU kernels are compiled for."""
    wish = os.environ.get("HGFAST_CPU_VARIANTS", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"HGFAST_CPU_VARIANTS must be 0 or 1, got {wish!r}")
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return X86_VARIANTS if is_x86 and wish != "0" else {"baseline": ""}


class NinjaFile:
    """build.ninja for both modules."""

    def __init__(self, out_dir: Path) -> None:
        """out_dir: where objects go."""
        import pybind11

        self.out_dir = out_dir
        self.lines: list[str] = []
        cxx, extra = os.environ.get("CXX", "c++"), os.environ.get("CXXFLAGS", "")
        # pip builds in an environment of a new name each time; by a name that stays, ninja finds its objects again
        headers = lasting_name(out_dir / f"pybind11-{pybind11.__version__}", Path(pybind11.get_include()))
        folders = f"-I{CSRC}", f"-isystem{headers}", f"-I{sysconfig.get_path('include')}"
        includes = " ".join(map(shlex.quote, folders))
        self.add_rule("cxx", f"{cxx} -MMD -MF $out.d {CXX_FLAGS} {includes} $flags {extra} -c $in -o $out")
        self.add_rule("link", f"{cxx} -shared $in -o $out -ldl -lpthread {os.environ.get('LDFLAGS', '')}")

    def add_rule(self, name: str, command: str) -> None:
        """Return a rule with a dependency file where the command writes one."""
        depfile = "\n  depfile = $out.d\n  deps = gcc" if "-MF" in command else ""
        self.lines.append(f"rule {name}\n  command = {command}{depfile}\n  description = {name} $out")

    def add_nvcc(self, nvcc: Nvcc) -> None:
        """Rules for CUDA sources; -DNDEBUG also keeps ptxas from serialising wgmma. ptxas's report goes to $out.log."""
        flags = f"{NVCC_FLAGS} {cuda_compiler.gencode_flags(nvcc.archs)} -Xptxas -v $flags"
        command = f"{shlex.quote(nvcc.command)} -MMD -MF $out.d {flags} -c $in -o $out"
        self.add_rule("nvcc", f"{command} > $out.log 2>&1 || (cat $out.log; false)")
        libs = " ".join(shlex.quote(f"-L{folder}") for folder in nvcc.lib_dirs)
        self.add_rule("nvlink", f"{shlex.quote(nvcc.command)} -shared -cudart=static {libs} $in -o $out")

    def object(self, source: Path, flags: str, suffix: str = "") -> str:
        """One compilation; returns the object's path."""
        folder = self.out_dir if source.is_relative_to(self.out_dir) else ROOT
        target = self.out_dir / f"{source.relative_to(folder)}{suffix}.o"
        rule = "nvcc" if source.suffix == ".cu" else "cxx"
        self.lines.append(f"build {escape(target)}: {rule} {escape(source)}\n  flags = {flags}")
        return escape(target)

    def module(self, out: Path, rule: str, objects: list[str]) -> None:
        """One shared library."""
        self.lines.append(f"build {escape(out)}: {rule} {' '.join(objects)}\ndefault {escape(out)}")

    def write(self, name: str = "build.ninja") -> None:
        """Write the file."""
        write_if_new(self.out_dir / name, "\n".join(self.lines) + "\n")


def lasting_name(link: Path, target: Path) -> Path:
    """Link to a folder, in place of an older one."""
    link.unlink(missing_ok=True)
    link.symlink_to(target, target_is_directory=True)
    return link


def write_if_new(path: Path, text: str) -> None:
    """Write a file that differs: a new time would make ninja build again what depends on it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def unity(path: Path, *folders: Path) -> Path:
    """Make a source that includes all .cpp files of folders of csrc, to read pybind11's headers (seconds) once."""
    sources = [source for folder in folders for source in sorted(folder.glob("*.cpp"))]
    write_if_new(path, "".join(f'#include "{source.relative_to(CSRC).as_posix()}"\n' for source in sources))
    return path


def escape(path: Path) -> str:
    """Return a path in ninja's syntax."""
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def kernel_sources(variant: str) -> list[Path]:
    """Return the files compiled for an instruction set; what they lack is another set's."""
    if variant == "avx512_bf16":
        return [CSRC / "cpu" / name for name in BF16_SOURCES]
    return sorted((CSRC / "cpu/amx" if variant == "amx_bf16" else CSRC / "cpu").glob("*.cpp"))


def cpu_objects(ninja: NinjaFile) -> list[str]:
    """Kernels once per instruction set, runtime and bindings once."""
    variants = cpu_variants()
    common = "-DHGFAST_BACKEND=cpu -DHGFAST_MODULE=_cpu" + (" -DHGFAST_X86_VARIANTS" if len(variants) > 1 else "")
    callers = unity(ninja.out_dir / "bindings_cpu.cpp", CSRC / "bindings", CSRC / "cpu/runtime")
    objects = [ninja.object(callers, f"{common} {BINDING_FLAGS}")]
    for name, isa_flags in variants.items():
        for source in kernel_sources(name):
            objects.append(ninja.object(source, f"{common} -DHGFAST_ISA={name} {isa_flags}", f".{name}"))
    return objects


def cuda_objects(ninja: NinjaFile, nvcc: Nvcc) -> list[str]:
    """Kernels by nvcc, bindings by the C++ compiler with the toolkit's headers."""
    flags = f"-DHGFAST_BACKEND=cuda -DHGFAST_MODULE=_cuda {shlex.quote(f'-I{nvcc.include}')}"
    flags += f""" '-DHGFAST_CUDA_ARCHS="{";".join(nvcc.archs)}"' '-DHGFAST_NVCC_VERSION="{nvcc.version}"'"""
    callers = unity(ninja.out_dir / "bindings_cuda.cpp", CSRC / "bindings", CSRC / "cuda")
    return [*cuda_kernels(ninja, nvcc), ninja.object(callers, f"{flags} {BINDING_FLAGS}")]


def cuda_kernels(ninja: NinjaFile, nvcc: Nvcc) -> list[str]:
    """Of cuda_objects, those with kernels."""
    flags = "-DHGFAST_SM90A" if "90a" in nvcc.archs else ""
    return [ninja.object(source, flags) for source in sorted((CSRC / "cuda").glob("*.cu"))]


def ninja_jobs() -> list[str]:
    """Options of ninja from MAX_JOBS, checked."""
    jobs = os.environ.get("MAX_JOBS", "")
    if jobs and not (jobs.isdigit() and int(jobs) > 0):
        raise SystemExit(f"MAX_JOBS must be a whole number of at least 1, got {jobs!r}")
    return ["-j", jobs] if jobs else []


def first_error(out_dir: Path) -> str:
    """Return the first line with an error in the newest of nvcc's logs."""
    logs = sorted(out_dir.rglob("*.cu.o.log"), key=lambda log: log.stat().st_mtime)
    lines = [line for log in logs[-1:] for line in log.read_text(errors="replace").splitlines()]
    return next((line.strip() for line in lines if re.search("error|fatal", line, re.I)), "see the build's output")


class BuildExt(build_ext):
    """build_ext through one ninja file; an extension that is not built is not left over from an earlier build."""

    def build_extensions(self) -> None:
        """Write build.ninja, run it, write hgfast/_build.json."""
        self.no_cuda, jobs = NO_CUDA_REASON, ninja_jobs()
        out_dir = Path(self.build_temp).resolve()
        out_dir.mkdir(parents=True, exist_ok=True)
        cpu, cuda = self.output_of("hgfast._cpu"), self.output_of("hgfast._cuda")
        cpu.parent.mkdir(parents=True, exist_ok=True)
        ninja = NinjaFile(out_dir)
        if NVCC is not None:  # first, as its kernels take longest to compile
            print(f"hgfast: building with CUDA {NVCC.version} for {';'.join(NVCC.archs)}", flush=True)
            ninja.add_nvcc(NVCC)
            ninja.module(cuda, "nvlink", cuda_objects(ninja, NVCC))
        ninja.module(cpu, "link", cpu_objects(ninja))
        ninja.write()
        command = ["ninja", "-C", str(out_dir), *jobs]
        if subprocess.call(command):  # what failed is in CUDA if the CPU's part can be built without it
            subprocess.check_call([*command, str(cpu)])
            self.no_cuda = NO_CUDA_REASON or f"nvcc failed when hgfast was built: {first_error(out_dir)}"
            if cuda_compiler.cuda_wish() == "1":
                raise SystemExit(f"HGFAST_CUDA=1, but {self.no_cuda}")
        if self.no_cuda:
            print(f"hgfast: built WITHOUT CUDA: {self.no_cuda}", flush=True)
            self.extensions[:] = [extension for extension in self.extensions if extension.name != "hgfast._cuda"]
            cuda.unlink(missing_ok=True)
        record = {"cuda": not self.no_cuda, "cuda_reason": self.no_cuda}
        (cpu.parent / "_build.json").write_text(json.dumps(record) + "\n")

    def output_of(self, name: str) -> Path:
        """Where an extension is written."""
        return Path(self.get_ext_fullpath(name)).resolve()

    def copy_extensions_to_source(self) -> None:
        """In-place and editable builds: the record too, and no stale _cuda."""
        super().copy_extensions_to_source()
        built = Path(self.build_lib, "hgfast", "_build.json")
        shutil.copyfile(built, ROOT / "hgfast" / "_build.json")
        if self.no_cuda:
            (ROOT / self.get_ext_filename("hgfast._cuda")).unlink(missing_ok=True)

    def get_outputs(self) -> list[str]:
        """List the extensions and the record of how they were built."""
        return [*super().get_outputs(), str(Path(self.build_lib, "hgfast", "_build.json"))]


NVCC, NO_CUDA_REASON = cuda_compiler.choose_cuda()

if __name__ == "__main__":  # tests import this file to find the compiler as the build does
    setup(
        ext_modules=[Extension(f"hgfast.{name}", []) for name in (["_cpu", "_cuda"] if NVCC else ["_cpu"])],
        cmdclass={"build_ext": BuildExt},
        setup_requires=cuda_compiler.extra_build_requirements(),
    )
