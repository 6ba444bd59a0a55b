"""Compiles every CUDA source to a cubin for each default architecture and reads what ptxas and nvdisasm say of it."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.build import ROOT, NoToolkit, load_setup

ARCHS = ("80", "90a")
OUT = Path(__file__).parent / "build"
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
    command = load_setup().find_nvcc_command()
    if command is None:
        raise NoToolkit("no nvcc in $CUDA_HOME, on PATH or in the Python environment")
    return command


@functools.cache
def compile_all() -> str:
    """Build cubins and logs of all sources (what is out of date) with ninja; returns the error, or nothing."""
    OUT.mkdir(exist_ok=True)
    flags = f"{load_setup().NVCC_FLAGS} -Xptxas -v -cubin"
    rule = f"{nvcc()} -MMD -MF $out.d {flags} $arch $in -o $out > $out.log 2>&1 || (cat $out.log; false)"
    lines = [f"rule cubin\n  command = {rule}\n  depfile = $out.d\n  deps = gcc"]
    for source in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
        for arch in ARCHS:
            lines.append(f"build {cubin(source.name, arch)}: cubin {source}")
            lines.append(f"  arch = -gencode=arch=compute_{arch},code=sm_{arch}")
    (OUT / "build.ninja").write_text("\n".join(lines) + "\n")
    result = subprocess.run(["ninja", "-C", str(OUT)], capture_output=True, text=True, check=False)
    return result.stdout[-6000:] if result.returncode else ""


def cubin(source: str, arch: str) -> Path:
    """Where a source's code for an architecture is."""
    return OUT / f"{source}.{arch}.cubin"


def ptxas_log(source: str, arch: str) -> str:
    """All that nvcc and ptxas said."""
    return Path(f"{cubin(source, arch)}.log").read_text()


def kernels(source: str, arch: str) -> list[Kernel]:
    """The kernels of a source, one entry an instantiation."""
    found = []
    blocks = re.split(r"Compiling entry function '(\w+)' for", ptxas_log(source, arch))[1:]
    names = demangle(blocks[::2])
    for name, text in zip(names, blocks[1::2], strict=True):
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
    return str(Path(load_setup().describe_nvcc(nvcc()).include).parent)


def tool(name: str) -> str:
    """nvdisasm or cuobjdump: of PATH, of the toolkit, or of the PyPI package nvidia-cuda-<name>.

    Raises:
        NoToolkit: it is nowhere.
    """
    places = [Path(nvcc_root()) / "bin"]
    places += sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/bin"))
    found = shutil.which(name) or next((str(p / name) for p in places if (p / name).exists()), None)
    if found is None:
        raise NoToolkit(f"no {name} (pip install nvidia-cuda-{name}==13.2.51)")
    return found


@functools.cache
def sass(source: str, arch: str) -> str:
    """The machine code of a source's kernels."""
    command = [tool("nvdisasm"), "-c", str(cubin(source, arch))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
