"""The CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

`python -m tests.sanitized [pytest arguments]` builds a copy of the package with both sanitizers in a temporary folder
and runs the tests of the ops there (default: OP_TESTS). Needs a checkout, g++ with its sanitizer libraries, and the
test dependencies. `--capture=sys`: pytest's default would swallow the report of a process that aborts.

A whole run that passed is recorded in sanitized.txt with the digest of the sources that it ran, to be committed with
them. `--if-new`, as CI calls it, runs only if kernels or tests are not those of the record: it takes minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import records

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_suffix(".txt")
# Compiled once, with all that this processor has. Unaligned 2-, 4- and 8-byte accesses are what vector loads by memcpy
# become; x86 and ARMv8 allow them.
FLAGS = "-O1 -g1 -march=native -fsanitize=address,undefined -fno-sanitize-recover=all -fno-sanitize=alignment"
OP_TESTS = [
    "tests/test_batch_norm_act.py",
    "tests/test_conv2d.py",
    "tests/test_conv_bf16.py",
    "tests/test_conv_bias_act.py",
    "tests/test_decode_heatmaps.py",
    "tests/test_flip.py",
    "tests/test_gaussian_heatmaps.py",
    "tests/test_heatmap_peaks.py",
    "tests/test_keypoint_mse.py",
    "tests/test_max_pool.py",
    "tests/test_pointwise.py",
    "tests/test_soft_argmax.py",
    "tests/test_upsample_add.py",
]


def digest() -> str:
    """SHA-256 of all that a run depends on but the compiler and the packages."""
    folders = ("csrc/bindings", "csrc/common", "csrc/cpu", "hgfast/ops", "hgfast/_checks")
    files = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".cpp", ".h", ".py")}
    files |= {path for path in (ROOT / "tests").glob("*.py") if not path.name.startswith("test_")}
    files |= {ROOT / name for name in (*OP_TESTS, "setup.py", "hgfast/_native.py")}
    return records.digest(files)


def library(name: str) -> str:
    """Path of one of g++'s runtime libraries."""
    compiler = os.environ.get("CXX", "g++")
    return subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()


def build(folder: Path) -> None:
    """The package, built in place in `folder`."""
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    for name in ("csrc", "hgfast", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "build"))
    environment = {**os.environ, "HGFAST_CUDA": "0", "HGFAST_CPU_VARIANTS": "0", "CXXFLAGS": FLAGS}
    environment["LDFLAGS"] = "-fsanitize=address,undefined"
    subprocess.check_call([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, env=environment)


def run_tests(folder: Path, arguments: list[str]) -> int:
    """pytest in a process that has the sanitizer's runtime from the start."""
    preload = f"{library('libasan.so')}:{library('libubsan.so')}:{library('libstdc++.so')}"
    environment = {
        **os.environ,
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0:use_sigaltstack=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-p",
        "no:cacheprovider",
        "--capture=sys",
        *(arguments or OP_TESTS),
    ]
    return subprocess.call(command, cwd=folder, env=environment)


def main(arguments: list[str]) -> int:
    """Exit code of pytest."""
    return records.run_recorded(RECORD, digest(), arguments, build_and_run)


def build_and_run(arguments: list[str]) -> int:
    """Exit code of pytest, on a build in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        return run_tests(Path(folder), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
