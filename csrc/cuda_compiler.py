"""Finds a CUDA compiler that can build the kernels, and the architectures it builds them for; used by setup.py."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ARCHS = "80;90a"
OLDEST_NVCC = (12, 0)  # the first that knows Hopper's sm_90a and the driver's tensor maps
CUDA_WHEELS = [f"nvidia-cuda-{part}==13.0.*" for part in ("nvcc", "crt", "runtime", "cccl")] + ["nvidia-nvvm==13.0.*"]


@dataclass
class Nvcc:
    """A CUDA compiler: its command, its toolkit's headers and libraries, and its version."""

    command: str
    include: str
    lib_dirs: list[str]
    version: str
    archs: list[str]


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
    """Ask nvcc itself for its version, and where its toolkit is: the command may be a shell wrapper far from it.

    Raises:
        CannotCompile: it does not run, or is too old.
    """
    try:
        text = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotCompile(f"{command} does not run: {error}") from None
    version = re.search(r"V((\d+)\.(\d+)\.\d+)", text)
    if version is None:
        raise CannotCompile(f"{command} --version names no version")
    if (int(version[2]), int(version[3])) < OLDEST_NVCC:
        raise CannotCompile(f"{command} is version {version[1]}; {'.'.join(map(str, OLDEST_NVCC))} or newer is needed")
    dry_run = subprocess.run(
        [command, "--dryrun", "-c", "-x", "cu", os.devnull, "-o", os.devnull], capture_output=True, text=True
    )
    top = re.search(r"^#\$ TOP=(.*)$", dry_run.stderr + dry_run.stdout, re.M)
    root = Path(top.group(1)).resolve() if top else Path(command).resolve().parent.parent
    libs = [str(root / name) for name in ("lib64", "lib", "targets/x86_64-linux/lib") if (root / name).is_dir()]
    return Nvcc(command, str(root / "include"), libs, version[1], cuda_archs(command))


class CannotCompile(Exception):
    """Why a compiler that was found is of no use."""


def choose_cuda() -> tuple[Nvcc | None, str]:
    """Find the compiler to build CUDA with, or None and the reason why CUDA is left out."""
    wish = cuda_wish()
    if wish == "0":
        return None, "HGFAST_CUDA=0 was set when hgfast was built"
    command = find_nvcc_command()
    try:
        if command is not None:
            return describe_nvcc(command), ""
        reason = "no nvcc was found in $CUDA_HOME, on PATH or in the Python environment when hgfast was built"
    except CannotCompile as error:
        reason = str(error)
    if wish == "1":
        raise SystemExit(f"HGFAST_CUDA=1, but {reason}")
    return None, reason


def cuda_wish() -> str:
    """HGFAST_CUDA, checked."""
    wish = os.environ.get("HGFAST_CUDA", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"HGFAST_CUDA must be 0 or 1, got {wish!r}")
    return wish


def gencode_flags(archs: list[str]) -> str:
    """'80;90a' -> SASS for each, and PTX of the oldest portable one so that cards without SASS compile it at load."""
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    portable = [arch for arch in archs if arch.isdigit()]
    if portable:
        oldest = min(portable, key=int)
        flags.append(f"-gencode=arch=compute_{oldest},code=compute_{oldest}")
    return " ".join(flags)


def cuda_archs(command: str) -> list[str]:
    """Architectures from HGFAST_CUDA_ARCHS, checked; without it, those of the default that this nvcc knows."""
    wish = os.environ.get("HGFAST_CUDA_ARCHS")
    archs = [arch.strip() for arch in (wish or DEFAULT_ARCHS).split(";") if arch.strip()]
    if not archs or not all(re.fullmatch(r"\d{2,3}[af]?", arch) for arch in archs):
        raise SystemExit(f"HGFAST_CUDA_ARCHS must look like '80;90a', got {wish!r}")
    listing = subprocess.run([command, "--list-gpu-arch"], capture_output=True, text=True)
    known = re.findall(r"compute_(\d+)", listing.stdout) if listing.returncode == 0 else []
    unknown = [arch for arch in archs if known and arch.rstrip("af") not in known]
    if unknown and wish:
        raise SystemExit(f"HGFAST_CUDA_ARCHS: this nvcc cannot compile for {';'.join(unknown)}, only for {known}")
    if "90" in archs and "90a" not in archs:
        print("hgfast: HGFAST_CUDA_ARCHS has 90 and not 90a, so Hopper's own kernels (wgmma) are left out", flush=True)
    return [arch for arch in archs if arch not in unknown]


def extra_build_requirements() -> list[str]:
    """Name CUDA's compiler on PyPI for pip, which asks first, where there is no other and it is not refused."""
    asked = "setuptools.build_meta" in sys.modules
    wanted = asked and cuda_wish() != "0" and wheel_platform() and find_nvcc_command() is None
    return CUDA_WHEELS if wanted else []
