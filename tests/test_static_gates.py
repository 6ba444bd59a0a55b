"""What can be said of the CUDA kernels without running them: resources, spills, the instructions meant, asm's place."""

from __future__ import annotations

import itertools
import re
import subprocess

import pytest

from tests.ahead import Ahead
from tests.emulator.build import ROOT, NoToolkit
from tests.gates import in_flight, update
from tests.gates.compile import ARCHS, SERIALISED, compile_all, nvcc, ptxas_log, sass, tool
from tests.gates.hot_loop import bodies, hot_loop
from tests.gates.sources import INSTRUCTIONS, SOURCES

CUDA = ROOT / "csrc" / "cuda"
REGISTER_UNIT = 8  # registers are given out in steps of 8 a thread: fewer more do not change occupancy


def _compile_and_disassemble() -> str:
    """Returns what is wrong with a source, or nothing."""
    error = compile_all()
    if not error:
        for source, arch in itertools.product(SOURCES, ARCHS):
            sass(source, arch)
    return error


AHEAD = Ahead(_compile_and_disassemble)


@pytest.fixture(scope="module")
def compiled() -> None:
    try:
        nvcc()
    except NoToolkit as error:
        pytest.skip(str(error))
    if error := AHEAD.result():
        pytest.fail(error)


def test_every_source_is_in_the_table() -> None:
    assert sorted(SOURCES) == sorted(path.name for path in CUDA.glob("*.cu"))
    for source in SOURCES.values():
        assert (ROOT / source.tests.split(" ")[0]).exists()
        assert set(source.sass) <= set(INSTRUCTIONS)
        assert all((CUDA / header).exists() for header in source.headers)


def test_asm_is_in_ptx_headers_only() -> None:
    places = [path for path in CUDA.rglob("*.cu*") if re.search(r"\basm\b", strip_comments(path.read_text()))]
    assert places and all(path.parent.name == "ptx" for path in places)


def test_cuda_is_used_through_compat_only() -> None:
    """No bare __shared__, no <<<>>>, no header of CUDA elsewhere: the emulator depends on it."""
    runtime = r"cuda_runtime\.h"
    allowed = {"compat.cuh": r"cuda_\w+\.h|__shared__", "launch.cuh": f"{runtime}|<<<"}
    allowed |= {"errors.cuh": runtime, "wait_fault.cuh": runtime, "tma.cuh": r"cuda\.h"}
    for path in CUDA.rglob("*.cu*"):
        text = strip_comments(path.read_text())
        for found in re.findall(r"#include <(cuda\w*\.h)>|(__shared__|<<<)", text):
            word = "".join(found)
            assert re.fullmatch(allowed.get(path.name, "$^"), word), f"{path.name}: {word}"


def strip_comments(text: str) -> str:
    return re.sub(r"//.*|/\*.*?\*/", "", text, flags=re.S if "/*" in text else 0)


@pytest.mark.usefixtures("compiled")
def test_resources() -> None:
    """Registers, shared memory and spills are those of resources.json (python -m tests.gates.update)."""
    table, found = update.load(), update.measured()
    assert set(table) == set(found), "kernels came or went: python -m tests.gates.update"
    for name, row in found.items():
        for arch in ARCHS:
            now, limit = row[arch], table[name][arch]
            steps = -(-limit["registers"] // REGISTER_UNIT) * REGISTER_UNIT
            assert now["registers"] <= steps, f"{name} for {arch}: {now} instead of {limit}"
            for field in ("shared", "stack", "spill"):
                assert now[field] <= limit[field], f"{name} for {arch}: {now} instead of {limit}"


def test_no_kernel_spills() -> None:
    spilling = [f"{name} for {arch}" for name, row in update.load().items() for arch in ARCHS if row[arch]["spill"]]
    assert not spilling


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("source", SOURCES)
def test_ptxas_serialises_nothing(source: str) -> None:
    found = SERIALISED.search(ptxas_log(source))
    assert not found, found.group(0)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("source", [name for name, source in SOURCES.items() if source.sass])
def test_instructions(source: str, arch: str) -> None:
    code = sass(source, arch)
    for kind in SOURCES[source].sass:
        for pattern in INSTRUCTIONS[kind].get(arch, ()):
            assert re.search(rf"\s(?:@!?U?P\w+\s+)?{pattern}", code), f"no {pattern} in {source} for sm_{arch}"


# kernel -> loads of 16 bytes on their way in each thread, at the least, without and with a residual: four of each
# tensor that it reads, or three, and with a residual two
IN_FLIGHT = {
    "batch_norm_stats_kernel": (4, 4),
    "batch_norm_apply_kernel": (4, 4),
    "batch_norm_backward_reduce_kernel": (8, 6),
    "batch_norm_backward_apply_kernel": (6, 6),
}


# Kernels of (source, pattern of their names for half types and 16-byte packs): packs that a round of the loop takes of
# the large map, the most instructions for each of them, loads of 16 bytes on their way in each thread, at the least
HOT_LOOPS = {
    ("upsample_add.cu", r"\dupsample_add_kernelI\w+Li8ELi2Ei"): (4, 40, 5),
    ("upsample_add.cu", r"upsample_add_backward_kernelI\w+Li8Ei"): (4, 40, 4),
    ("max_pool.cu", r"max_pool_kernelI\w+Li8ELb0Ei"): (4, 40, 4),
    ("max_pool.cu", r"max_pool_kernelI\w+Li8ELb1Ei"): (4, 48, 4),
    ("max_pool.cu", r"max_pool_backward_kernelI\w+Li8Ei"): (4, 120, 5),
    ("flip_merge.cu", r"flip_merge_kernelI\w+Li8ELb0Ei"): (1, 96, 2),
    ("flip_merge.cu", r"flip_merge_kernelI\w+Li8ELb1Ei"): (1, 208, 1),
}


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("source", "pattern"), HOT_LOOPS)
def test_hot_loop(source: str, pattern: str, arch: str) -> None:
    """Instructions for 16 bytes, and loads on their way, of the loops that move whole maps."""
    packs, most, least = HOT_LOOPS[source, pattern]
    kernels = {name: code for name, code in in_flight.functions(source, arch).items() if re.search(pattern, name)}
    assert len(kernels) == 2  # float16, bfloat16
    for name, code in kernels.items():
        loop = hot_loop(code)
        assert loop.instructions <= packs * most, f"{name}: {loop}"
        assert in_flight.wide_loads_in_flight(code) >= least, name


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("arch", ARCHS)
def test_decoding(arch: str) -> None:
    """A kernel for each type and layout, with four (NCHW) or eight (NHWC) loads of 16 bytes on their way."""
    kernels = in_flight.functions("decode_heatmaps.cu", arch)
    assert len(kernels) == 6
    for name, code in kernels.items():
        assert in_flight.wide_loads_in_flight(code) >= (4 if "Li1EE" in name else 8), name


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("arch", ARCHS)
def test_stem_gathers_from_shared_memory(arch: str) -> None:
    """At most 32 instructions for a pixel's row of K, three words a lane (float32: five)."""
    kernels = {name: code for name, code in in_flight.functions("conv_small.cu", arch).items() if "Lb0ELb1E" in name}
    assert len(kernels) == 3
    for name, code in kernels.items():
        gathers = [body for body in bodies(code) if any(word.startswith("STS") for word in body) and len(body) < 100]
        (body,) = [body for body in gathers if not any(word.startswith("LDG") for word in body)]
        words = sum(word.startswith("STS") for word in body)
        assert len(body) <= (words // 3 if "IfLb" not in name else words // 5) * 32, name


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("source", "kinds"), [("batch_norm_act.cu", 3), ("batch_norm_act_backward.cu", 4)])
def test_loads_in_flight(source: str, kinds: int, arch: str) -> None:
    """Of the kernels for channels_last in float32 and half types, whole octets at 16-byte boundaries."""
    checked = set()
    for name, code in in_flight.functions(source, arch).items():
        found = re.search(r"(batch_norm_\w+?_kernel)I(\w+?)Lb1ELNS\w*?NormWayE([12])E", name)
        if found is not None:
            checked.add(found.groups())
            least = IN_FLIGHT[found.group(1)][int(found.group(3)) - 1]
            assert in_flight.wide_loads_in_flight(code) >= least, name
    assert len(checked) == kinds * 3


def test_built_extension_has_code_for_each_architecture() -> None:
    """hgfast._cuda, where it was built with the default architectures: two cubins a source, and portable PTX."""
    import hgfast
    from hgfast import _native

    library = _native.library("cuda")
    if library is None or hgfast.build_info()["cuda"]["archs"] != "80;90a":
        pytest.skip("hgfast._cuda was not built, or not for the default architectures")
    listing = subprocess.run(
        [tool("cuobjdump"), "--list-elf", "--list-ptx", library.__file__], capture_output=True, text=True, check=True
    ).stdout
    for part in ("sm_80.cubin", "sm_90a.cubin", "sm_80.ptx"):
        assert listing.count(part) >= len(SOURCES), listing
