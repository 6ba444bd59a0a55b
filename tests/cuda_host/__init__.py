"""The host's code of csrc/cuda that needs no kernel, compiled with a CUDA runtime that only writes down its calls."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.emulator.build import ROOT, toolkit_include

HERE = Path(__file__).parent


def compile_host(source: str, folder: Path) -> Path:
    """Compile a source beside this file into a library in a folder; returns its path.

    Raises:
        NoToolkit: there are no headers of CUDA.
        subprocess.CalledProcessError: it does not compile.
    """
    target = folder / f"{source}.so"
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]
    includes = [f"-I{ROOT / 'csrc'}", f"-isystem{toolkit_include()}"]
    command = [os.environ.get("CXX", "c++"), *flags, *includes, str(HERE / source), "-o", str(target)]
    subprocess.run(command, check=True)
    return target
