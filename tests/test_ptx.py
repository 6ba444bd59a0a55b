"""Each wrapper of csrc/cuda/ptx.cuh against what the PTX manual says it does, written in torch.

Runs on the emulator (its twins) always, and on the GPU (the instructions) where there is one: an error that kernels and
emulator share would show there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch

from tests.emulator.build import NoToolkit, toolkit_include
from tests.emulator.memory import EmulatorError
from tests.emulator.probes import Probes, probes, read, update, write

BOXES = [  # sizes, box, corner
    ((64, 10), (64, 8), (8, 3)),
    ((72, 9, 5), (32, 4, 3), (40, -1, 3)),
    ((40, 7, 6, 3), (16, 4, 4, 2), (-8, 5, -2, 2)),
]
SWIZZLES = {"none": 0, "128": 1, "64": 2, "32": 3}
SPANS = {0: 0, 1: 128, 2: 64, 3: 32}


@pytest.fixture(params=["emulator", "cuda"] if torch.cuda.is_available() else ["emulator"])
def machine(request: pytest.FixtureRequest) -> Iterator[Probes]:
    try:
        toolkit_include()
    except NoToolkit as error:
        pytest.skip(str(error))
    yield probes(request.param)


def place(machine: Probes, tensor: torch.Tensor) -> torch.Tensor:
    return tensor if machine.emulated else tensor.cuda()


def needs_hopper(machine: Probes) -> None:
    if machine.emulated is None and torch.cuda.get_device_capability()[0] != 9:
        pytest.skip("needs a Hopper GPU")


def words(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.int32)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("count", [2, 4])
def test_ldmatrix(machine: Probes, count: int, transpose: bool) -> None:
    matrices = torch.arange(count * 64, dtype=torch.int16).reshape(count, 8, 8)
    out = place(machine, torch.empty(32, count, dtype=torch.int32))
    machine.run(f"ldmatrix_x{count}{'_trans' if transpose else ''}", read(place(machine, matrices)), write(out))
    rows = matrices.transpose(1, 2) if transpose else matrices
    expected = words(rows).reshape(count, 32).T
    assert torch.equal(out.cpu(), expected)


@pytest.mark.parametrize("count", [2, 4])
def test_stmatrix(machine: Probes, count: int) -> None:
    needs_hopper(machine)
    matrices = torch.arange(count * 64, dtype=torch.int16).reshape(count, 8, 8)
    registers = words(matrices).reshape(count, 32).T.contiguous()
    out = place(machine, torch.empty_like(matrices))
    machine.run(f"stmatrix_x{count}", read(place(machine, registers)), write(out))
    assert torch.equal(out.cpu(), matrices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mma(machine: Probes, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    a, b, d = torch.randn(16, 16).to(dtype), torch.randn(8, 16).to(dtype), torch.randn(16, 8)
    out = place(machine, d.clone())
    name = "mma_half" if dtype == torch.float16 else "mma_bfloat16"
    machine.run(name, read(place(machine, words(a))), read(place(machine, words(b))), update(out))
    torch.testing.assert_close(out.cpu(), (d.double() + a.double() @ b.double().T).float(), rtol=1e-5, atol=1e-5)


def test_mma_tf32(machine: Probes) -> None:
    torch.manual_seed(0)
    a, b, d = torch.randn(16, 8), torch.randn(8, 8), torch.randn(16, 8)
    a[0] = torch.tensor([1, -1, 2, -2, 4, -4, 0.5, -0.5]) * (1 + 2**-11)  # ties: away from zero
    out, rounded = place(machine, d.clone()), place(machine, torch.empty_like(a))
    machine.run("mma_tf32", read(place(machine, a)), read(place(machine, b)), update(out), write(rounded))

    def tf32(x: torch.Tensor) -> torch.Tensor:
        return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    assert torch.equal(rounded.cpu(), tf32(a))
    expected = d.double() + tf32(a).double() @ tf32(b).double().T
    torch.testing.assert_close(out.cpu(), expected.float(), rtol=1e-5, atol=1e-5)


def test_cp_async(machine: Probes) -> None:
    source = torch.arange(1, 513, dtype=torch.int16).to(torch.uint8)
    out = place(machine, torch.empty(512 + 256 + 128, dtype=torch.uint8))
    machine.run("cp_async", read(place(machine, source)), write(out))
    expected = []
    for width, limit in ((16, 17), (8, 9), (4, 5)):
        for lane in range(32):
            row = source[lane * width : (lane + 1) * width].clone()
            row[lane % limit :] = 0
            expected.append(row)
    assert torch.equal(out.cpu(), torch.cat(expected))


def test_flags_between_blocks(machine: Probes) -> None:
    flag, sums = torch.zeros(1, dtype=torch.int32), torch.zeros(7, dtype=torch.int32)
    flag, sums = place(machine, flag), place(machine, sums)
    machine.run("flags", update(flag), update(sums))
    assert flag.item() == 6 and sums.tolist() == [0, 0, 1, 3, 6, 10, 15]


def test_mbarriers_and_named_barriers(machine: Probes) -> None:
    needs_hopper(machine)
    steps = 7
    source = torch.randint(0, 1000, (steps, 32), dtype=torch.int32)
    out = place(machine, torch.empty(32, dtype=torch.int32))
    machine.run("ring", read(place(machine, source)), write(out), steps)
    sums = source.sum(0).to(torch.int32)  # lane 0 of warp w reads word w
    assert torch.equal(out.cpu(), sums[torch.arange(32) % 4])


def swizzle(rows: torch.Tensor, span: int) -> torch.Tensor:
    """Rows of a box as they lie in shared memory: 16-byte chunk c of address a is at c ^ (a >> 7), within the span."""
    data = rows.contiguous().view(torch.uint8).reshape(-1)
    if not span:
        return data
    address = torch.arange(data.numel())
    out = torch.empty_like(data)
    out[address ^ (((address >> 7) & (span // 16 - 1)) << 4)] = data
    return out


def box_rows(tensor: torch.Tensor, box: tuple[int, ...], corner: tuple[int, ...]):
    """(elements of the box, zeros where out of range); dimensions innermost first, as in a tensor map."""
    out = torch.zeros(*reversed(box), dtype=tensor.dtype)
    for index in itertools.product(*(range(b) for b in box)):
        at = [c + i for c, i in zip(corner, index, strict=True)]
        if all(0 <= x < size for x, size in zip(at, reversed(tensor.shape), strict=True)):
            out[tuple(reversed(index))] = tensor[tuple(reversed(at))]
    return out


@pytest.mark.parametrize("mode", SWIZZLES)
@pytest.mark.parametrize("case", range(len(BOXES)))
def test_tma_load(machine: Probes, case: int, mode: str) -> None:
    needs_hopper(machine)
    sizes, box, corner = BOXES[case]
    span = SPANS[SWIZZLES[mode]]
    box = (span // 2 or box[0], *box[1:])
    tensor = torch.randn(*reversed(sizes)).bfloat16()
    expected = box_rows(tensor, box, corner)
    out = place(machine, torch.empty(expected.numel() // 2, dtype=torch.int32))
    machine.run(
        "tma_load",
        read(place(machine, tensor)),
        write(out),
        list(sizes),
        list(box),
        list(corner),
        len(sizes),
        SWIZZLES[mode],
        expected.numel() * 2,
    )
    assert torch.equal(out.cpu().view(torch.uint8), swizzle(expected, span))


def test_launches_ask_for_room_for_their_blocks(machine: Probes) -> None:
    """The host's side of a launch, which is the emulator's own there: the PTX interpreter runs the true one."""
    if machine.emulated is None or not hasattr(machine.emulated.control, "hgfast_ptx_preferred_share"):
        pytest.skip("only the PTX interpreter tells what the driver was asked for")
    test_tma_load(machine, 0, "none")
    blocks, kilobytes = 3, 65  # of 64 KB, and what the card takes for itself: of 228 KB three, whatever the registers
    share = machine.emulated.control.hgfast_ptx_preferred_share(b"tma_load_kernel")
    assert blocks * kilobytes / 228 <= share / 100 < (blocks + 1) * kilobytes / 228
    assert machine.emulated.control.hgfast_ptx_preferred_share(b"mma_kernel") == -1  # all of its memory is static


def test_box_narrower_than_its_swizzle(machine: Probes) -> None:
    needs_hopper(machine)
    tensor, out = place(machine, torch.zeros(8, 64).bfloat16()), place(machine, torch.empty(128, dtype=torch.int32))
    shape = [64, 8], [32, 8], [0, 0], 2
    with pytest.raises((RuntimeError, EmulatorError), match="inner box has 64 bytes, not the swizzle's 128"):
        machine.run("tma_load", read(tensor), write(out), *shape, SWIZZLES["128"], 512)


@pytest.mark.parametrize("mode", ["none", "128"])
@pytest.mark.parametrize("case", range(3))
def test_tma_store(machine: Probes, case: int, mode: str) -> None:
    needs_hopper(machine)
    sizes, box, corner = BOXES[case]
    box = (SPANS[SWIZZLES[mode]] // 2 or box[0], *box[1:])
    before = torch.randn(*reversed(sizes)).bfloat16()
    values = torch.randn(*reversed(box)).bfloat16()
    source = swizzle(values, SPANS[SWIZZLES[mode]]).view(torch.int32)
    out = place(machine, before.clone())
    machine.run(
        "tma_store",
        update(out),
        read(place(machine, source)),
        list(sizes),
        list(box),
        list(corner),
        len(sizes),
        SWIZZLES[mode],
        values.numel() * 2,
    )
    expected = before.clone()
    for index in itertools.product(*(range(b) for b in box)):
        at = tuple(reversed([c + i for c, i in zip(corner, index, strict=True)]))
        if all(0 <= x < size for x, size in zip(at, before.shape, strict=True)):
            expected[at] = values[tuple(reversed(index))]
    assert torch.equal(out.cpu(), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("tap", [(0, 0), (2, 1)])
def test_tma_im2col(machine: Probes, tap: tuple[int, int], stride: int) -> None:
    """A 3x3 filter with padding 1: consecutive output pixels from the middle of a row to beyond the last image."""
    needs_hopper(machine)
    n, h, w, c, channels, pixels = 2, 6, 5, 96, 64, 48
    tensor = torch.randn(n, h, w, c).bfloat16()
    out_h, out_w = (h + 2 - 3) // stride + 1, (w + 2 - 3) // stride + 1
    first, c0 = out_w + 1, 64  # the second pixel of the second row
    padded = torch.zeros(n, h + 2, w + 2, c + channels, dtype=torch.bfloat16)
    padded[:, 1:-1, 1:-1, :c] = tensor
    expected = torch.zeros(pixels, channels, dtype=torch.bfloat16)
    for i in range(pixels):
        image, rest = divmod(first + i, out_h * out_w)
        y, x = divmod(rest, out_w)
        if image < n:
            expected[i] = padded[image, y * stride + tap[1], x * stride + tap[0], c0 : c0 + channels]
    out = place(machine, torch.empty(pixels * channels // 2, dtype=torch.int32))
    y, x = divmod(first, out_w)
    machine.run(
        "tma_im2col",
        read(place(machine, tensor)),
        write(out),
        [c, w, h, n],
        [-1, -1, -1, -1],
        channels,
        pixels,
        stride,
        [c0, x * stride - 1, y * stride - 1, 0, *tap],
        SWIZZLES["128"],
        pixels * channels * 2,
    )
    assert torch.equal(out.cpu().view(torch.uint8), swizzle(expected, 128))


def unswizzled_operand(matrix: torch.Tensor) -> torch.Tensor:
    """K-major without swizzle: 8x16-byte core matrices, the two of a row group 128 bytes apart, row groups 256."""
    rows = matrix.shape[0]
    return matrix.reshape(rows // 8, 8, 2, 8).transpose(1, 2).contiguous().view(torch.uint8).reshape(-1)


def operand(matrix: torch.Tensor, span: int) -> torch.Tensor:
    """A (rows, 16) operand in shared memory: rows of `span` bytes, of which the first 32 are the operand's."""
    if not span:
        return unswizzled_operand(matrix)
    wide = torch.randn(matrix.shape[0], span // 2).to(matrix.dtype)
    wide[:, :16] = matrix
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
def test_wgmma(machine: Probes, dtype: torch.dtype, n: int, mode: str, registers: bool) -> None:
    needs_hopper(machine)
    torch.manual_seed(0)
    span = SPANS[SWIZZLES[mode]]
    a, b, d = torch.randn(64, 16).to(dtype), torch.randn(n, 16).to(dtype), torch.randn(64, n)
    packed = torch.cat([operand(a, span), operand(b, span)]).view(torch.int32)
    fragments = words(a).reshape(4, 2, 8, 2, 4).permute(0, 2, 4, 3, 1).reshape(128, 4).contiguous()
    accumulate = int(mode != "64")
    out = place(machine, accumulators(d))
    stride, leading = (8 * span, 16) if span else (256, 128)
    machine.run(
        f"wgmma_{'half' if dtype == torch.float16 else 'bfloat16'}_{n}",
        read(place(machine, packed)),
        packed.numel(),
        operand(a, span).numel(),
        stride,
        leading,
        SWIZZLES[mode],
        read(place(machine, fragments)) if registers else None,
        accumulate,
        update(out),
    )
    expected = (d.double() * accumulate + a.double() @ b.double().T).float()
    torch.testing.assert_close(out.cpu(), accumulators(expected), rtol=1e-5, atol=1e-5)
