"""What the tests of PTX wrappers share: where tensors go, and how rows of them lie in shared memory."""

from __future__ import annotations

import pytest
import torch

from tests.emulator.probes import Probes

SWIZZLES = {"none": 0, "128": 1, "64": 2, "32": 3}
SPANS = {0: 0, 1: 128, 2: 64, 3: 32}


def place(probed: Probes, tensor: torch.Tensor) -> torch.Tensor:
    return tensor if probed.emulated else tensor.cuda()


def needs_hopper(probed: Probes) -> None:
    if probed.emulated is None and torch.cuda.get_device_capability()[0] != 9:
        pytest.skip("needs a Hopper GPU")


def words(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.int32)


def swizzle(rows: torch.Tensor, span: int) -> torch.Tensor:
    """Rows of a box as they lie in shared memory: 16-byte chunk c of address a is at c ^ (a >> 7), within the span."""
    data = rows.contiguous().view(torch.uint8).reshape(-1)
    if not span:
        return data
    address = torch.arange(data.numel())
    out = torch.empty_like(data)
    out[address ^ (((address >> 7) & (span // 16 - 1)) << 4)] = data
    return out
