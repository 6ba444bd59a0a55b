"""The host's code of csrc/cuda, compiled with a CUDA runtime that only writes down its calls: no kernel runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.emulator.build import ROOT, load_setup, toolkit_include

HERE = Path(__file__).parent
FLAGS = ("-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")


def compile_host(folder: Path, *sources: str) -> Path:
    """Compile sources beside this file into a library in a folder; returns its path. Those of kernels (.cu) by nvcc.

    Raises:
        NoToolkit: there are no headers of CUDA.
        subprocess.CalledProcessError: it does not compile.
    """
    target = folder / f"{sources[0]}.so"
    cxx, includes = os.environ.get("CXX", "c++"), ["-I", str(ROOT / "csrc"), "-isystem", toolkit_include()]
    objects = []
    for source in sources:
        nvcc = [str(load_setup().cuda_compiler.find_nvcc_command()), "-gencode=arch=compute_80,code=compute_80"]
        nvcc += [f"-Xcompiler={flag}" for flag in FLAGS]
        command = nvcc if source.endswith(".cu") else [cxx, *FLAGS, "-Werror"]
        objects.append(str(folder / f"{source}.o"))
        subprocess.run(
            [*command, "-std=c++17", "-O1", *includes, "-c", str(HERE / source), "-o", objects[-1]], check=True
        )
    subprocess.run([cxx, "-shared", *objects, "-o", str(target)], check=True)
    return target
