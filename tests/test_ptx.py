"""Each wrapper of csrc/cuda/ptx for matrices, copies and barriers against the PTX manual written in torch.

Runs on the emulator (its twins) always, and on the GPU (the instructions) where there is one: an error that kernels and
emulator share would show there. Those of TMA are in test_ptx_tma.py.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys

import pytest
import torch

from tests.emulator.build import ROOT
from tests.emulator.memory import EmulatorError
from tests.emulator.probes import Probes, read, update, write
from tests.wrapper_cases import SPANS, SWIZZLES, needs_hopper, place, swizzle, words


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("count", [2, 4])
def test_ldmatrix(probed: Probes, count: int, transpose: bool) -> None:
    matrices = torch.arange(count * 64, dtype=torch.int16).reshape(count, 8, 8)
    out = place(probed, torch.empty(32, count, dtype=torch.int32))
    probed.run(f"ldmatrix_x{count}{'_trans' if transpose else ''}", read(place(probed, matrices)), write(out))
    rows = matrices.transpose(1, 2) if transpose else matrices
    expected = words(rows).reshape(count, 32).T
    assert torch.equal(out.cpu(), expected)


@pytest.mark.parametrize("count", [2, 4])
def test_stmatrix(probed: Probes, count: int) -> None:
    needs_hopper(probed)
    matrices = torch.arange(count * 64, dtype=torch.int16).reshape(count, 8, 8)
    registers = words(matrices).reshape(count, 32).T.contiguous()
    out = place(probed, torch.empty_like(matrices))
    probed.run(f"stmatrix_x{count}", read(place(probed, registers)), write(out))
    assert torch.equal(out.cpu(), matrices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mma(probed: Probes, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    a, b, d = torch.randn(16, 16).to(dtype), torch.randn(8, 16).to(dtype), torch.randn(16, 8)
    out = place(probed, d.clone())
    name = "mma_half" if dtype == torch.float16 else "mma_bfloat16"
    probed.run(name, read(place(probed, words(a))), read(place(probed, words(b))), update(out))
    torch.testing.assert_close(out.cpu(), (d.double() + a.double() @ b.double().T).float(), rtol=1e-5, atol=1e-5)


def test_mma_tf32(probed: Probes) -> None:
    torch.manual_seed(0)
    a, b, d = torch.randn(16, 8), torch.randn(8, 8), torch.randn(16, 8)
    a[0] = torch.tensor([1, -1, 2, -2, 4, -4, 0.5, -0.5]) * (1 + 2**-11)  # ties: away from zero
    out, rounded = place(probed, d.clone()), place(probed, torch.empty_like(a))
    probed.run("mma_tf32", read(place(probed, a)), read(place(probed, b)), update(out), write(rounded))

    def tf32(x: torch.Tensor) -> torch.Tensor:
        return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    assert torch.equal(rounded.cpu(), tf32(a))
    expected = d.double() + tf32(a).double() @ tf32(b).double().T
    torch.testing.assert_close(out.cpu(), expected.float(), rtol=1e-5, atol=1e-5)


def test_cp_async(probed: Probes) -> None:
    source = torch.arange(1, 513, dtype=torch.int16).to(torch.uint8)
    out = place(probed, torch.empty(512 + 256 + 128, dtype=torch.uint8))
    probed.run("cp_async", read(place(probed, source)), write(out))
    expected = []
    for width, limit in ((16, 17), (8, 9), (4, 5)):
        for lane in range(32):
            row = source[lane * width : (lane + 1) * width].clone()
            row[lane % limit :] = 0
            expected.append(row)
    assert torch.equal(out.cpu(), torch.cat(expected))


def test_flags_between_blocks(probed: Probes) -> None:
    flag, sums = torch.zeros(1, dtype=torch.int32), torch.zeros(7, dtype=torch.int32)
    flag, sums = place(probed, flag), place(probed, sums)
    probed.run("flags", update(flag), update(sums))
    assert flag.item() == 6 and sums.tolist() == [0, 0, 1, 3, 6, 10, 15]


def test_mbarriers_and_named_barriers(probed: Probes) -> None:
    needs_hopper(probed)
    steps = 7
    source = torch.randint(0, 1000, (steps, 32), dtype=torch.int32)
    out = place(probed, torch.empty(32, dtype=torch.int32))
    probed.run("ring", read(place(probed, source)), write(out), steps)
    sums = source.sum(0).to(torch.int32)  # lane 0 of warp w reads word w
    assert torch.equal(out.cpu(), sums[torch.arange(32) % 4])


NOTE = r"block 1, thread 33 waited too long for the mbarrier at shared address [1-9]\d*, parity 0"
ALONE = """
from tests.emulator.probes import probes
try:
    probes("cuda").run("wait")
except RuntimeError as error:
    print(error)
"""


def test_mbarriers_that_nobody_completes(probed: Probes) -> None:
    """A thread gives up after 20 s and says where. The emulator's twin is no wait: it names the deadlock."""
    needs_hopper(probed)
    if probed.emulated is None:  # a trap ends the process's context
        told = subprocess.run(
            [sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert re.search(NOTE, told), told
    elif (waits := getattr(probed.emulated.control, "hgfast_ptx_waits", None)) is None:
        with pytest.raises(EmulatorError, match="deadlock in block"):
            probed.run("wait")
    else:
        waits(1_000_000, ctypes.c_uint64(1_000_000))  # a millisecond each instruction
        try:
            with pytest.raises(RuntimeError, match=f"trap.*{NOTE}"):
                probed.run("wait")
        finally:
            waits(1_000, ctypes.c_uint64(4))


def unswizzled_operand(matrix: torch.Tensor) -> torch.Tensor:
    """K-major without swizzle: 8x16-byte core matrices, the two of a row group 128 bytes apart, row groups 256."""
    rows = matrix.shape[0]
    return matrix.reshape(rows // 8, 8, 2, 8).transpose(1, 2).contiguous().view(torch.uint8).reshape(-1)


def operand(matrix: torch.Tensor, span: int, step: int) -> torch.Tensor:
    """A (rows, 16) operand in shared memory: rows of `span` bytes, of which the step-th 32 are the operand's."""
    if not span:
        return unswizzled_operand(matrix)
    wide = torch.randn(matrix.shape[0], span // 2).to(matrix.dtype)
    wide[:, 16 * step : 16 * step + 16] = matrix
    return swizzle(wide, span)


def accumulators(d: torch.Tensor) -> torch.Tensor:
    """(64, N) -> (128 threads, N / 2 registers)."""
    n = d.shape[1]
    tiles = d.reshape(4, 2, 8, n // 8, 4, 2)  # warp, half, row, column group, pair, element
    return tiles.permute(0, 2, 4, 3, 1, 5).reshape(128, n // 2).contiguous()


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("mode", SWIZZLES)
@pytest.mark.parametrize(
    ("dtype", "n"), [(torch.float16, n) for n in (64, 96, 128, 192, 256)] + [(torch.bfloat16, n) for n in (64, 256)]
)
def test_wgmma(probed: Probes, dtype: torch.dtype, n: int, mode: str, registers: bool, step: int = 0) -> None:
    needs_hopper(probed)
    torch.manual_seed(0)
    span = SPANS[SWIZZLES[mode]]
    a, b, d = torch.randn(64, 16).to(dtype), torch.randn(n, 16).to(dtype), torch.randn(64, n)
    packed = torch.cat([operand(a, span, step), operand(b, span, step)]).view(torch.int32)
    fragments = words(a).reshape(4, 2, 8, 2, 4).permute(0, 2, 4, 3, 1).reshape(128, 4).contiguous()
    accumulate = int(mode != "64")
    out = place(probed, accumulators(d))
    stride, leading = (8 * span, 16) if span else (256, 128)
    probed.run(
        f"wgmma_{'half' if dtype == torch.float16 else 'bfloat16'}_{n}",
        read(place(probed, packed)),
        packed.numel(),
        32 * step,
        operand(a, span, step).numel() + 32 * step,
        stride,
        leading,
        SWIZZLES[mode],
        read(place(probed, fragments)) if registers else None,
        accumulate,
        update(out),
    )
    expected = (d.double() * accumulate + a.double() @ b.double().T).float()
    torch.testing.assert_close(out.cpu(), accumulators(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mode", "step"), [("128", 1), ("128", 2), ("128", 3), ("64", 1)])
@pytest.mark.parametrize("registers", [False, True])
def test_wgmma_goes_along_k_within_the_rows_of_a_swizzle(probed: Probes, mode: str, step: int, registers: bool) -> None:
    """As kernels do: the descriptor's address moves on by 32 bytes, and the swizzle stays that of the rows."""
    test_wgmma(probed, torch.float16, 64, mode, registers, step)
