"""The build: what setup.py decides, what it writes for ninja, what an sdist holds, that nothing stale is shipped."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests import records, sanitized

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs a checkout")


COMPILER = """#!/bin/sh
# Notes its arguments, a line each, and makes the files it is to make.
printf '%s\\n' "$@" >>"$FOLDER/arguments"
while [ $# -gt 0 ]; do
  case "$1" in -o) echo built >"$2";; -MF) echo "none:" >"$2";; esac
  shift
done
"""
NVCC = """#!/bin/sh
case "$1" in
  --version) echo "Cuda compilation tools, release $VERSION"; exit;;
  --dryrun) echo "#\\$ TOP=$FOLDER/toolkit" >&2; exit;;
  --list-gpu-arch) printf 'compute_%s\\n' 80 86 90 100 120; exit;;
esac
[ -z "$BROKEN" ] || { echo "nvcc fatal : this compiler is broken"; exit 1; }
exec "$FOLDER/bin/c++" "$@"
"""


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the build reads, in a folder with a space in its name; its compilers only note their calls."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("csrc", "hgfast"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "_build.json"))
    script(folder / "bin" / "c++", COMPILER)
    script(folder / "toolkit" / "bin" / "nvcc", NVCC)
    return folder


SETTINGS = ("HGFAST_CUDA", "HGFAST_CUDA_ARCHS", "HGFAST_CPU_VARIANTS", "CUDA_HOME", "CUDA_PATH", "CXX", "MAX_JOBS")


def run_setup(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FOLDER": str(folder),
        "CUDA_HOME": str(folder / "toolkit"),
        "VERSION": "13.0, V13.0.88",
    }
    keep = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    command = [sys.executable, "setup.py", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**keep, **own, **environment}, capture_output=True, text=True, check=False
    )


def built(folder: Path) -> list[str]:
    return sorted(path.name.split(".")[0] for path in (folder / "hgfast").glob("_c*.so"))


def test_without_cuda_says_why_and_leaves_no_stale_module(checkout: Path) -> None:
    with_cuda = run_setup(checkout, "build_ext", "--inplace")
    assert with_cuda.returncode == 0, with_cuda.stderr
    assert "building with CUDA 13.0.88 for 80;90a" in with_cuda.stdout
    assert built(checkout) == ["_cpu", "_cuda"]
    assert '"cuda": true' in (checkout / "hgfast" / "_build.json").read_text()

    without = run_setup(checkout, "build_ext", "--inplace", HGFAST_CUDA="0")
    assert without.returncode == 0, without.stderr
    assert "built WITHOUT CUDA: HGFAST_CUDA=0 was set" in without.stdout
    assert built(checkout) == ["_cpu"]
    assert "HGFAST_CUDA=0 was set" in (checkout / "hgfast" / "_build.json").read_text()
    assert not list((checkout / "build").rglob("_cuda*.so"))


def test_ninja_file(checkout: Path) -> None:
    assert run_setup(checkout, "build_ext", HGFAST_CUDA_ARCHS="80;86;90a").returncode == 0
    text = next((checkout / "build").rglob("build.ninja")).read_text()
    for arch in (
        "compute_80,code=sm_80",
        "compute_86,code=sm_86",
        "compute_90a,code=sm_90a",
        "compute_80,code=compute_80",
    ):
        assert text.count(f"-gencode=arch={arch}") == 1
    assert "-shared -cudart=static" in text and "-DNDEBUG" in text and "depfile" in text
    kernels = [path for path in (ROOT / "csrc" / "cuda").glob("*.cu")]
    assert all(f"{path.name}.o: nvcc" in text for path in kernels)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HGFAST_CUDA": "yes"}, "HGFAST_CUDA must be 0 or 1, got 'yes'"),
        ({"HGFAST_CPU_VARIANTS": "avx2"}, "HGFAST_CPU_VARIANTS must be 0 or 1, got 'avx2'"),
        ({"HGFAST_CUDA_ARCHS": "hopper"}, "HGFAST_CUDA_ARCHS must look like '80;90a', got 'hopper'"),
        ({"HGFAST_CUDA_ARCHS": "80;75"}, "HGFAST_CUDA_ARCHS: this nvcc cannot compile for 75"),
        ({"MAX_JOBS": "abc"}, "MAX_JOBS must be a whole number of at least 1, got 'abc'"),
    ],
)
def test_bad_settings(checkout: Path, environment: dict[str, str], message: str) -> None:
    result = run_setup(checkout, "build_ext", **environment)
    assert result.returncode != 0 and message in result.stderr


@pytest.mark.parametrize("wish", ["0", "1"])
def test_instruction_sets(checkout: Path, wish: str) -> None:
    assert run_setup(checkout, "build_ext", HGFAST_CUDA="0", HGFAST_CPU_VARIANTS=wish).returncode == 0
    text = next((checkout / "build").rglob("build.ninja")).read_text()
    names = {"baseline", "avx2", "avx512", "avx512_bf16", "amx_bf16"}
    sets = {name for name in names if f"-DHGFAST_ISA={name} " in text}
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    assert sets == (names if is_x86 and wish == "1" else {"baseline"})
    assert ("-DHGFAST_X86_VARIANTS" in text) == (len(sets) == 5)


UNUSABLE = [
    ({"CUDA_HOME": "", "PATH": "{bin}"}, "no nvcc was found in $CUDA_HOME, on PATH"),
    ({"VERSION": "11.5, V11.5.119"}, "is version 11.5.119; 12.0 or newer is needed"),
    ({"VERSION": ""}, "names no version"),
    ({"BROKEN": "1"}, "nvcc failed when hgfast was built: nvcc fatal : this compiler is broken"),
]


@pytest.mark.parametrize(("environment", "reason"), UNUSABLE)
def test_a_compiler_that_is_of_no_use_costs_cuda_alone(checkout: Path, environment, reason: str) -> None:
    needed = checkout / "bin"  # of what is on PATH, all but a machine's own nvcc
    for name in ("sh", "ninja", "gcc", "cc"):
        if (found := shutil.which(name)) is not None:
            (needed / name).symlink_to(found)
    environment = {key: value.format(bin=needed) for key, value in environment.items()}
    result = run_setup(checkout, "build_ext", "--inplace", **environment)
    assert result.returncode == 0, result.stderr
    assert built(checkout) == ["_cpu"]
    record = json.loads((checkout / "hgfast" / "_build.json").read_text())
    assert not record["cuda"] and reason in record["cuda_reason"]

    required = run_setup(checkout, "build_ext", "--inplace", HGFAST_CUDA="1", **environment)
    assert required.returncode != 0 and f"HGFAST_CUDA=1, but {record['cuda_reason']}" in required.stderr


def test_paths_with_spaces_reach_the_compilers_whole(checkout: Path) -> None:
    assert run_setup(checkout, "build_ext").returncode == 0
    arguments = (checkout / "arguments").read_text().splitlines()
    assert f"-I{checkout / 'csrc'}" in arguments and f"-I{checkout / 'toolkit' / 'include'}" in arguments
    assert str(checkout / "csrc" / "cuda" / "conv.cu") in arguments


def test_a_second_build_compiles_nothing_again(checkout: Path, tmp_path: Path) -> None:
    """As README's second command after the first, though pip gives it another folder with pybind11's headers."""
    import pybind11

    assert run_setup(checkout, "build_ext").returncode == 0
    calls = (checkout / "arguments").read_text()
    shutil.copytree(Path(pybind11.__file__).parent, tmp_path / "other" / "pybind11")
    again = run_setup(checkout, "build_ext", PYTHONPATH=str(tmp_path / "other"))
    assert again.returncode == 0, again.stderr
    assert next((checkout / "build").rglob("pybind11-*")).resolve().is_relative_to(tmp_path / "other")
    assert (checkout / "arguments").read_text() == calls


def test_sdist_holds_the_sources(checkout: Path) -> None:
    result = run_setup(checkout, "sdist", HGFAST_CUDA="0")
    assert result.returncode == 0, result.stderr
    with tarfile.open(next((checkout / "dist").glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.[chp]*") if path.suffix != ".pyc"}
    assert sources <= names and {"setup.py", "LICENSE", "pyproject.toml"} <= names
    assert not [name for name in names if name.endswith((".so", ".o"))]


def test_kernels_of_one_instruction_set_share_no_code_with_another() -> None:
    """A function that the linker merges (a template of std, say) could end up with AVX-512 in the baseline's path.

    So every weak symbol of a variant's kernels has to be in the variant's own namespace.
    """
    objects = [path for path in (ROOT / "build").rglob("*.avx512*.o")] if (ROOT / "build").exists() else []
    if not objects or shutil.which("nm") is None:
        pytest.skip("no objects of an in-place build here")
    listing = subprocess.run(["nm", "-C", *map(str, objects)], capture_output=True, text=True, check=True).stdout
    weak = [line.split(" ", 2)[-1] for line in listing.splitlines() if " W " in line or " V " in line]
    foreign = [name for name in weak if "hgfast::cpu::avx512" not in name and "DW.ref" not in name]
    assert not foreign, f"merged across instruction sets: {foreign[:5]}"


def test_sanitizers_run_again_for_other_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitized, "RECORD", tmp_path / "record.txt")
    for module in (sanitized, records):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for name in (*sanitized.OP_TESTS, "setup.py", "hgfast/_native.py", "hgfast/_checks/tensors.py", "csrc/cpu/a.cpp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    assert not records.has_passed(sanitized.RECORD, sanitized.digest())
    records.write(sanitized.RECORD, sanitized.digest())
    assert records.has_passed(sanitized.RECORD, sanitized.digest()) and sanitized.main(["--if-new"]) == 0
    (tmp_path / "csrc/cpu/a.cpp").write_text("2")
    assert not records.has_passed(sanitized.RECORD, sanitized.digest())
