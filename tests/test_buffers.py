"""Large CPU outputs are laid into memory that is used again, never into memory that a tensor still uses."""

from __future__ import annotations

import torch

from hgfast.ops import _buffers, upsample_add
from hgfast.ops._buffers import BufferPool

BIG = (1, 256, 64, 640)  # 42 MB


def test_memory_is_used_again_when_no_tensor_uses_it() -> None:
    like = torch.empty(0)
    first = _buffers.empty_nhwc(BIG, like)
    assert first.is_contiguous(memory_format=torch.channels_last) and not first._is_view()
    part, address = first[:, :1], first.data_ptr()
    other = _buffers.empty_nhwc(BIG, like)
    assert other.data_ptr() != address
    del first
    assert _buffers.empty_nhwc(BIG, like).data_ptr() != address  # part still uses it
    del part
    again = [_buffers.empty_nhwc(BIG, like) for _ in range(3)]
    assert address in {tensor.data_ptr() for tensor in again}
    assert len({tensor.data_ptr() for tensor in (*again, other)}) == 4


def test_an_op_keeps_its_results_apart() -> None:
    low = torch.ones(1, 256, 32, 320).contiguous(memory_format=torch.channels_last)
    results = [
        upsample_add(torch.full(BIG, float(i)).contiguous(memory_format=torch.channels_last), low) for i in range(3)
    ]
    assert [float(r.min()) for r in results] == [float(r.max()) for r in results] == [1.0, 2.0, 3.0]


def test_pool_stays_within_its_limit() -> None:
    pool = BufferPool(limit=300)
    tensors = [torch.empty(0, dtype=torch.uint8).set_(pool.take(100)) for _ in range(3)]
    assert pool.held() == 300 and len({t.data_ptr() for t in tensors}) == 3
    beyond = pool.take(100)
    assert pool.held() == 300 and beyond.data_ptr() not in {t.data_ptr() for t in tensors}
    address = tensors.pop().data_ptr()
    assert pool.take(100).data_ptr() == address and pool.held() == 300
    assert pool.take(50).nbytes() == 50 and pool.held() == 250  # what nobody used made room


def test_small_outputs_and_other_devices_are_torchs() -> None:
    before = _buffers.POOL.held()
    assert _buffers.empty_nhwc((1, 4, 8, 8), torch.empty(0)).shape == (1, 4, 8, 8)
    assert _buffers.empty_nhwc(BIG, torch.empty(0, device="meta")).device.type == "meta"
    assert _buffers.POOL.held() == before
