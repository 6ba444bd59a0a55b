"""The list of kernels that could compute a call, for cards that are not here: limits, order, and what fits them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hgfast.ops._bottleneck_native import BottleneckShape
from hgfast.ops._bottleneck_native import query as bottleneck_query
from hgfast.ops._candidates import Candidate, bottleneck_candidates, conv_candidates, has_candidates
from hgfast.ops._conv_native import ConvShape, NoKernel, query
from tests.emulator.build import NoToolkit
from tests.emulator.device import load
from tests.gates import update

# major, minor, multiprocessors, shared KB of a block and in all, registers, threads
CARDS = {
    "A100": (8, 0, 108, 163, 164, 65536, 2048),
    "RTX 3090": (8, 6, 82, 99, 100, 65536, 1536),
    "RTX 4090": (8, 9, 128, 99, 100, 65536, 1536),
    "H100": (9, 0, 132, 227, 228, 65536, 2048),
    "B200": (10, 0, 148, 227, 228, 65536, 2048),
    "RTX 5090": (12, 0, 170, 99, 100, 65536, 1536),
}
LARGE = ConvShape(32, 64, 64, 256, 256, 3, 1, dtype=torch.bfloat16)
SHAPES = [
    LARGE,
    ConvShape(1, 4, 4, 384, 384, 3, 1, dtype=torch.bfloat16),
    ConvShape(8, 256, 256, 3, 128, 7, 2, dtype=torch.float16),
    ConvShape(2, 33, 17, 17, 40, 3, 2, dtype=torch.float32, exact=True),
    ConvShape(2, 16, 16, 72, 40, 1, 1, dtype=torch.float32),
]


@pytest.fixture(scope="module")
def lib() -> Any:
    try:
        return load("fast")
    except NoToolkit as error:
        pytest.skip(str(error))


def card(lib: Any, name: str) -> Any:
    major, minor, multiprocessors, block, everything, registers, threads = CARDS[name]
    return lib.Device(major, minor, multiprocessors, block << 10, everything << 10, registers, threads)


def test_the_library_of_cuda_has_them(lib: Any) -> None:
    from hgfast import _native

    assert has_candidates(lib) and not has_candidates(_native.library("cpu"))


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_candidates_fit_their_card(lib: Any, name: str, sizes: ConvShape) -> None:
    device = card(lib, name)
    found = conv_candidates(lib, sizes, device)
    assert found and len({c.algorithm for c in found}) == len(found)
    assert [c.cycles for c in found] == sorted(c.cycles for c in found)
    for candidate in found:
        check_fits(candidate, device)
        assert candidate.splits == candidate.algorithm // 16 and (candidate.splits > 1) == bool(
            candidate.workspace_bytes
        )
    wgmma = [c for c in found if c.kernel.startswith("wgmma")]
    assert bool(wgmma) == (name == "H100" and sizes.dtype != torch.float32 and sizes.c % 8 == 0 and sizes.kernel <= 3)


def check_fits(candidate: Candidate, device: Any) -> None:
    """One block in the memory, registers and threads of a multiprocessor; as many as are said to be resident, too."""
    at_a_time = candidate.resident_blocks
    assert at_a_time >= 1 and candidate.shared_bytes + 1024 <= device.shared_bytes
    assert at_a_time * (candidate.shared_bytes + 1024) <= device.shared_bytes_all
    assert at_a_time * candidate.registers * candidate.threads <= device.registers
    assert at_a_time * candidate.threads <= device.threads


@pytest.mark.parametrize("name", CARDS)
def test_bottlenecks_fit_their_card(lib: Any, name: str) -> None:
    device = card(lib, name)
    for middle in (64, 128):
        found, three = bottleneck_candidates(lib, BottleneckShape(8, 64, 64, 256, middle, dtype=torch.float16), device)
        assert found and three > 0
        for candidate in found:
            check_fits(candidate, device)
        assert any("wgmma" in c.kernel for c in found) == (name == "H100")


def test_consumer_cards_hold_one_block_of_the_large_tile(lib: Any) -> None:
    """Where an A100 holds two: its multiprocessors have 164 KB of shared memory, theirs 100."""
    blocks = {
        name: {c.kernel: c.resident_blocks for c in conv_candidates(lib, LARGE, card(lib, name))} for name in CARDS
    }
    assert blocks["A100"]["mma 128x64"] == 2 and blocks["A100"]["mma 64x32"] == 3
    for name in ("RTX 3090", "RTX 4090", "RTX 5090"):
        assert blocks[name]["mma 128x64"] == 1 and blocks[name]["mma 64x32"] == 2
        assert "mma 256x128" not in blocks[name]


@pytest.mark.parametrize(("name", "peak"), [("A100", 1024), ("RTX 4090", 256), ("H100", 2048), ("RTX 5090", 256)])
def test_no_card_is_expected_to_exceed_its_peak(lib: Any, name: str, peak: int) -> None:
    device, best = card(lib, name), conv_candidates(lib, LARGE, card(lib, name))[0]
    products = LARGE.n * LARGE.h * LARGE.w * LARGE.c * LARGE.k * 9
    assert 0.5 * peak < products / best.cycles / device.multiprocessors < peak


def test_the_emulated_card_chooses_what_is_listed_first(lib: Any) -> None:
    for sizes in SHAPES:
        best = conv_candidates(lib, sizes)[0]
        needs = query(lib, sizes, 1)
        assert (needs.algorithm, needs.kernel, needs.workspace_bytes) == (
            best.algorithm,
            best.kernel,
            best.workspace_bytes,
        )
    sizes = BottleneckShape(8, 64, 64, 256, 128, dtype=torch.float16)
    found, three = bottleneck_candidates(lib, sizes)
    block = bottleneck_query(lib, sizes, 1)
    assert block is not None and block.algorithm == found[0].algorithm and block.pays == (found[0].cycles < three)


def test_every_candidate_can_be_asked_for(lib: Any) -> None:
    """Its needs are those listed; the small-input kernel packs for itself, all others alike."""
    for sizes in SHAPES:
        packings = {}
        for candidate in conv_candidates(lib, sizes):
            needs = query(lib, sizes, 1, candidate.algorithm)
            assert needs.algorithm == candidate.algorithm and needs.workspace_bytes == candidate.workspace_bytes
            assert packings.setdefault(needs.packing, needs.packed_bytes) == needs.packed_bytes
            assert (needs.packing == 1) == ("few channels" in candidate.kernel)


def test_few_channels_have_other_kernels_too(lib: Any) -> None:
    kernels = [c.kernel for c in conv_candidates(lib, SHAPES[3])]
    assert kernels[0] == "mma few channels 3xtf32" and "mma 64x64 3xtf32" in kernels
    assert [c.kernel for c in conv_candidates(lib, SHAPES[2])] == ["mma few channels"]  # 7x7: nothing else takes it


def test_families_that_are_turned_off_are_not_listed(lib: Any) -> None:
    for family, sign in (("wgmma", "wgmma"), ("small", "few channels")):
        lib.switch_family(family, False)
        try:
            assert not any(sign in c.kernel for sizes in (LARGE, SHAPES[3]) for c in conv_candidates(lib, sizes))
        finally:
            lib.switch_family(family, True)
    lib.switch_family("split", False)
    try:
        assert all(c.splits == 1 for sizes in SHAPES for c in conv_candidates(lib, sizes))
    finally:
        lib.switch_family("split", True)


def test_sizes_without_a_kernel_are_refused(lib: Any) -> None:
    with pytest.raises(NoKernel, match="take a kernel up to 5"):
        conv_candidates(lib, ConvShape(1, 8, 8, 16, 8, 7, 1, dtype=torch.float16))


def test_registers_are_those_of_the_compiled_kernels(lib: Any) -> None:
    """The most of a kernel's instantiations, as tests/gates/resources.json has them."""
    table, listed = update.load(), dict[str, int]()
    sources = {
        "conv_small.cu: conv_small": "few channels",
        "conv_wgmma.cu: conv": "wgmma",
        "conv_mma.cu: conv_m": "mma",
    }
    for sizes in SHAPES:
        for candidate in conv_candidates(lib, sizes, card(lib, "H100")):
            source = next(name for name, sign in sources.items() if sign in candidate.kernel)
            listed[source] = max(listed.get(source, 0), candidate.registers)
    for middle in (64, 128):
        sizes = BottleneckShape(8, 64, 64, 256, middle, dtype=torch.float16)
        for candidate in bottleneck_candidates(lib, sizes, card(lib, "H100"))[0]:
            source = f"bottleneck_{candidate.kernel.split()[0]}.cu"
            listed[source] = max(listed.get(source, 0), candidate.registers)
    assert len(listed) == 5
    for source, registers in listed.items():
        (row,) = [row for name, row in table.items() if name.startswith(source)]
        assert registers == max(limits["registers"] for limits in row.values()), source
