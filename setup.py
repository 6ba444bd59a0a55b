"""Builds hgfast._cpu and, where an nvcc is found, hgfast._cuda with ninja. torch plays no part in the build.

Environment:
    HGFAST_CUDA=0|1         leave CUDA out | require it (default: build it if an nvcc is found)
    HGFAST_CUDA_ARCHS       e.g. "80;90a" (default: SASS for 8.x and Hopper, PTX of compute_80 for newer cards)
    HGFAST_CPU_VARIANTS=0   compile the CPU kernels once, not for each instruction set; with CXXFLAGS=-march=native, say
    CUDA_HOME, CXX, CXXFLAGS, LDFLAGS, MAX_JOBS as usual
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CSRC = ROOT / "csrc"
DEFAULT_ARCHS = "80;90a"
CUDA_WHEELS = [f"nvidia-cuda-{part}==13.0.*" for part in ("nvcc", "crt", "runtime", "cccl")] + ["nvidia-nvvm==13.0.*"]
CXX_FLAGS = "-std=c++17 -O3 -DNDEBUG -fPIC -fvisibility=hidden -fno-math-errno -Wall -Wextra -Wno-unknown-pragmas"
# GCC 12 calls the placeholders of its own intrinsics uninitialised
CXX_FLAGS += " -Wno-psabi -Wno-maybe-uninitialized"
BINDING_FLAGS = "-O1"  # they only pass arguments on; a quarter less to compile than -O3
NVCC_FLAGS = f"-std=c++17 -O3 -DNDEBUG -lineinfo --expt-relaxed-constexpr -I{CSRC} -Xcompiler=-fPIC"
NVCC_FLAGS += " -Xcompiler=-fvisibility=hidden"
X86_VARIANTS = {
    "baseline": "",
    "avx2": "-mavx2 -mfma -mf16c -mbmi2",
    "avx512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mbmi2 -mprefer-vector-width=512",
}


@dataclass
class Nvcc:
    """A CUDA compiler: its command, its toolkit's headers and libraries, and its version."""

    command: str
    include: str
    lib_dirs: list[str]
    version: str


def cpu_variants() -> dict[str, str]:
    """Name and flags of each instruction set that the CPU kernels are compiled for."""
    wish = os.environ.get("HGFAST_CPU_VARIANTS", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"HGFAST_CPU_VARIANTS must be 0 or 1, got {wish!r}")
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return X86_VARIANTS if is_x86 and wish != "0" else {"baseline": ""}


def wheel_platform() -> bool:
    """Whether PyPI has wheels of the CUDA compiler for this platform."""
    return sys.platform == "linux" and platform.machine().lower() in ("x86_64", "amd64", "aarch64")


def nvcc_of_wheels() -> str | None:
    """nvcc from the nvidia-cuda-* wheels, if they are installed in this (build) environment."""
    for folder in sys.path:
        found = sorted(Path(folder or ".").glob("nvidia/cu*/bin/nvcc")) if os.path.isdir(folder or ".") else []
        if found:
            return str(found[-1])
    return None


def find_nvcc_command() -> str | None:
    """nvcc of $CUDA_HOME, else the one on PATH, else the one from PyPI wheels."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home and (found := shutil.which("nvcc", path=str(Path(home) / "bin"))):
        return found
    return shutil.which("nvcc") or nvcc_of_wheels()


def describe_nvcc(command: str) -> Nvcc:
    """Ask nvcc itself where its toolkit is: the command may be a shell wrapper far from it."""
    version = re.search(r"V(\d+\.\d+\.\d+)", subprocess.check_output([command, "--version"], text=True))
    dry_run = subprocess.run(
        [command, "--dryrun", "-c", "-x", "cu", os.devnull, "-o", os.devnull], capture_output=True, text=True
    )
    top = re.search(r"^#\$ TOP=(.*)$", dry_run.stderr + dry_run.stdout, re.M)
    root = Path(top.group(1)).resolve() if top else Path(command).resolve().parent.parent
    libs = [str(root / name) for name in ("lib64", "lib", "targets/x86_64-linux/lib") if (root / name).is_dir()]
    return Nvcc(command, str(root / "include"), libs, version.group(1) if version else "unknown")


def choose_cuda() -> tuple[Nvcc | None, str]:
    """The compiler to build CUDA with, or None and the reason why CUDA is left out."""
    wish = os.environ.get("HGFAST_CUDA", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"HGFAST_CUDA must be 0 or 1, got {wish!r}")
    if wish == "0":
        return None, "HGFAST_CUDA=0 was set when hgfast was built"
    command = find_nvcc_command()
    if command is None:
        if wish == "1":
            raise SystemExit("HGFAST_CUDA=1, but no nvcc was found in $CUDA_HOME, on PATH or in the Python environment")
        return None, "no nvcc was found when hgfast was built"
    return describe_nvcc(command), ""


def gencode_flags(archs: list[str]) -> str:
    """'80;90a' -> SASS for each, and PTX of the oldest portable one so that cards without SASS compile it at load."""
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    portable = [arch for arch in archs if arch.isdigit()]
    if portable:
        oldest = min(portable, key=int)
        flags.append(f"-gencode=arch=compute_{oldest},code=compute_{oldest}")
    return " ".join(flags)


def cuda_archs() -> list[str]:
    """Architectures from HGFAST_CUDA_ARCHS, checked."""
    archs = [arch.strip() for arch in os.environ.get("HGFAST_CUDA_ARCHS", DEFAULT_ARCHS).split(";") if arch.strip()]
    bad = [arch for arch in archs if not re.fullmatch(r"\d{2,3}[af]?", arch)]
    if bad or not archs:
        raise SystemExit(f"HGFAST_CUDA_ARCHS must look like '80;90a', got {os.environ.get('HGFAST_CUDA_ARCHS')!r}")
    return archs


class NinjaFile:
    """build.ninja for both modules."""

    def __init__(self, out_dir: Path) -> None:
        """out_dir: where objects go."""
        import pybind11

        self.out_dir = out_dir
        self.lines: list[str] = []
        cxx, extra = os.environ.get("CXX", "c++"), os.environ.get("CXXFLAGS", "")
        includes = f"-I{CSRC} -I{pybind11.get_include()} -I{sysconfig.get_path('include')}"
        self.add_rule("cxx", f"{cxx} -MMD -MF $out.d {CXX_FLAGS} {includes} $flags {extra} -c $in -o $out")
        self.add_rule("link", f"{cxx} -shared $in -o $out -ldl -lpthread {os.environ.get('LDFLAGS', '')}")

    def add_rule(self, name: str, command: str) -> None:
        """A rule with a dependency file where the command writes one."""
        depfile = "\n  depfile = $out.d\n  deps = gcc" if "-MF" in command else ""
        self.lines.append(f"rule {name}\n  command = {command}{depfile}\n  description = {name} $out")

    def add_nvcc(self, nvcc: Nvcc) -> None:
        """Rules for CUDA sources; -DNDEBUG also keeps ptxas from serialising wgmma. ptxas's report goes to $out.log."""
        flags = f"{NVCC_FLAGS} {gencode_flags(cuda_archs())} -Xptxas -v $flags"
        command = f"{nvcc.command} -MMD -MF $out.d {flags} -c $in -o $out"
        self.add_rule("nvcc", f"{command} > $out.log 2>&1 || (cat $out.log; false)")
        libs = " ".join(f"-L{folder}" for folder in nvcc.lib_dirs)
        self.add_rule("nvlink", f"{nvcc.command} -shared -cudart=static {libs} $in -o $out")

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


def write_if_new(path: Path, text: str) -> None:
    """Writes a file that differs: a new time would make ninja build again what depends on it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def unity(path: Path, *folders: Path) -> Path:
    """Makes a source that includes all .cpp files of folders of csrc, to read pybind11's headers (seconds) once."""
    sources = [source for folder in folders for source in sorted(folder.glob("*.cpp"))]
    write_if_new(path, "".join(f'#include "{source.relative_to(CSRC).as_posix()}"\n' for source in sources))
    return path


def escape(path: Path) -> str:
    """A path in ninja's syntax."""
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def cpu_objects(ninja: NinjaFile) -> list[str]:
    """Kernels once per instruction set, runtime and bindings once."""
    variants = cpu_variants()
    common = "-DHGFAST_BACKEND=cpu -DHGFAST_MODULE=_cpu" + (" -DHGFAST_X86_VARIANTS" if len(variants) > 1 else "")
    callers = unity(ninja.out_dir / "bindings_cpu.cpp", CSRC / "bindings", CSRC / "cpu/runtime")
    objects = [ninja.object(callers, f"{common} {BINDING_FLAGS}")]
    for name, isa_flags in variants.items():
        for source in sorted((CSRC / "cpu").glob("*.cpp")):
            objects.append(ninja.object(source, f"{common} -DHGFAST_ISA={name} {isa_flags}", f".{name}"))
    return objects


def cuda_objects(ninja: NinjaFile, nvcc: Nvcc) -> list[str]:
    """Kernels by nvcc, bindings by the C++ compiler with the toolkit's headers."""
    archs = ";".join(cuda_archs())
    flags = f"-DHGFAST_BACKEND=cuda -DHGFAST_MODULE=_cuda -I{nvcc.include}"
    flags += f""" '-DHGFAST_CUDA_ARCHS="{archs}"' '-DHGFAST_NVCC_VERSION="{nvcc.version}"'"""
    callers = unity(ninja.out_dir / "bindings_cuda.cpp", CSRC / "bindings", CSRC / "cuda")
    return [*cuda_kernels(ninja), ninja.object(callers, f"{flags} {BINDING_FLAGS}")]


def cuda_kernels(ninja: NinjaFile) -> list[str]:
    """Of cuda_objects, those with kernels."""
    flags = "-DHGFAST_SM90A" if "90a" in cuda_archs() else ""
    return [ninja.object(source, flags) for source in sorted((CSRC / "cuda").glob("*.cu"))]


class BuildExt(build_ext):
    """build_ext through one ninja file; an extension that is not built is not left over from an earlier build."""

    def build_extensions(self) -> None:
        """Write build.ninja, run it, write hgfast/_build.json."""
        out_dir = Path(self.build_temp).resolve()
        out_dir.mkdir(parents=True, exist_ok=True)
        package = self.output_of("hgfast._cpu").parent
        package.mkdir(parents=True, exist_ok=True)
        ninja = NinjaFile(out_dir)
        if NVCC is None:
            self.output_of("hgfast._cuda").unlink(missing_ok=True)
            print(f"hgfast: building WITHOUT CUDA: {NO_CUDA_REASON}", flush=True)
        else:  # first, as its kernels take longest to compile
            ninja.add_nvcc(NVCC)
            ninja.module(self.output_of("hgfast._cuda"), "nvlink", cuda_objects(ninja, NVCC))
            print(f"hgfast: building with CUDA {NVCC.version} for {';'.join(cuda_archs())}", flush=True)
        ninja.module(self.output_of("hgfast._cpu"), "link", cpu_objects(ninja))
        ninja.write()
        jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        subprocess.check_call(["ninja", "-C", str(out_dir), *jobs])
        record = {"cuda": NVCC is not None, "cuda_reason": NO_CUDA_REASON}
        (package / "_build.json").write_text(json.dumps(record) + "\n")

    def output_of(self, name: str) -> Path:
        """Where an extension is written."""
        return Path(self.get_ext_fullpath(name)).resolve()

    def copy_extensions_to_source(self) -> None:
        """In-place and editable builds: the record too, and no stale _cuda."""
        super().copy_extensions_to_source()
        built = Path(self.build_lib, "hgfast", "_build.json")
        shutil.copyfile(built, ROOT / "hgfast" / "_build.json")
        if NVCC is None:
            (ROOT / self.get_ext_filename("hgfast._cuda")).unlink(missing_ok=True)

    def get_outputs(self) -> list[str]:
        """The extensions and the record of how they were built."""
        return [*super().get_outputs(), str(Path(self.build_lib, "hgfast", "_build.json"))]


def extra_build_requirements() -> list[str]:
    """The CUDA compiler from PyPI where there is no other and it is not refused."""
    wanted = os.environ.get("HGFAST_CUDA", "") != "0" and wheel_platform() and find_nvcc_command() is None
    return CUDA_WHEELS if wanted else []


NVCC, NO_CUDA_REASON = choose_cuda()

if __name__ == "__main__":  # tests import this file to find the compiler as the build does
    setup(
        ext_modules=[Extension(f"hgfast.{name}", []) for name in (["_cpu", "_cuda"] if NVCC else ["_cpu"])],
        cmdclass={"build_ext": BuildExt},
        setup_requires=extra_build_requirements(),
    )
