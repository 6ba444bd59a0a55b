"""Each wrapper of csrc/cuda/ptx/tma.cuh against the PTX manual written in torch: on the emulator, and on a GPU."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.emulator.memory import EmulatorError
from tests.emulator.probes import Probes, read, update, write
from tests.wrapper_cases import SPANS, SWIZZLES, needs_hopper, place, swizzle

BOXES = [  # sizes, box, corner
    ((64, 10), (64, 8), (8, 3)),
    ((72, 9, 5), (32, 4, 3), (40, -1, 3)),
    ((40, 7, 6, 3), (16, 4, 4, 2), (-8, 5, -2, 2)),
]


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
def test_tma_load(probed: Probes, case: int, mode: str) -> None:
    needs_hopper(probed)
    sizes, box, corner = BOXES[case]
    span = SPANS[SWIZZLES[mode]]
    box = (span // 2 or box[0], *box[1:])
    tensor = torch.randn(*reversed(sizes)).bfloat16()
    expected = box_rows(tensor, box, corner)
    out = place(probed, torch.empty(expected.numel() // 2, dtype=torch.int32))
    probed.run(
        "tma_load",
        read(place(probed, tensor)),
        write(out),
        list(sizes),
        list(box),
        list(corner),
        len(sizes),
        SWIZZLES[mode],
        expected.numel() * 2,
    )
    assert torch.equal(out.cpu().view(torch.uint8), swizzle(expected, span))


def test_launches_ask_for_room_for_their_blocks(probed: Probes) -> None:
    """The host's side of a launch, which is the emulator's own there: the PTX interpreter runs the true one."""
    if probed.emulated is None or not hasattr(probed.emulated.control, "hgfast_ptx_preferred_share"):
        pytest.skip("only the PTX interpreter tells what the driver was asked for")
    test_tma_load(probed, 0, "none")
    blocks, kilobytes = 3, 65  # of 64 KB, and what the card takes for itself: of 228 KB three, whatever the registers
    share = probed.emulated.control.hgfast_ptx_preferred_share(b"tma_load_kernel")
    assert blocks * kilobytes / 228 <= share / 100 < (blocks + 1) * kilobytes / 228
    assert probed.emulated.control.hgfast_ptx_preferred_share(b"mma_kernel") == -1  # all of its memory is static


def test_box_narrower_than_its_swizzle(probed: Probes) -> None:
    needs_hopper(probed)
    tensor, out = place(probed, torch.zeros(8, 64).bfloat16()), place(probed, torch.empty(128, dtype=torch.int32))
    shape = [64, 8], [32, 8], [0, 0], 2
    with pytest.raises((RuntimeError, EmulatorError), match="inner box has 64 bytes, not the swizzle's 128"):
        probed.run("tma_load", read(tensor), write(out), *shape, SWIZZLES["128"], 512)


@pytest.mark.parametrize("mode", ["none", "128"])
@pytest.mark.parametrize("case", range(3))
def test_tma_store(probed: Probes, case: int, mode: str) -> None:
    needs_hopper(probed)
    sizes, box, corner = BOXES[case]
    box = (SPANS[SWIZZLES[mode]] // 2 or box[0], *box[1:])
    before = torch.randn(*reversed(sizes)).bfloat16()
    values = torch.randn(*reversed(box)).bfloat16()
    source = swizzle(values, SPANS[SWIZZLES[mode]]).view(torch.int32)
    out = place(probed, before.clone())
    probed.run(
        "tma_store",
        update(out),
        read(place(probed, source)),
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
def test_tma_im2col(probed: Probes, tap: tuple[int, int], stride: int) -> None:
    """A 3x3 filter with padding 1: consecutive output pixels from the middle of a row to beyond the last image."""
    needs_hopper(probed)
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
    out = place(probed, torch.empty(pixels * channels // 2, dtype=torch.int32))
    y, x = divmod(first, out_w)
    probed.run(
        "tma_im2col",
        read(place(probed, tensor)),
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
