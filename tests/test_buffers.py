"""Large CPU outputs are laid into memory that is used again, never into memory that a tensor still uses."""

from __future__ import annotations

import signal
import sys
import threading
import time

import torch
from torch.utils.data import DataLoader, Dataset

from hgfast.ops import _buffers, upsample_add
from hgfast.ops._buffers import BufferPool

BIG = (1, 256, 64, 640)  # 42 MB
LEAST = (_buffers.SMALLEST // 4,)


def take() -> torch.Tensor:
    """The smallest float32 tensor that comes from the pool."""
    return _buffers.empty_strided(LEAST, (1,), torch.empty(0))


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
    shape = (1, 256, 32, 64)  # 2 MB
    low = torch.ones(1, 256, 16, 32).contiguous(memory_format=torch.channels_last)
    results = [
        upsample_add(torch.full(shape, float(i)).contiguous(memory_format=torch.channels_last), low) for i in range(3)
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


def test_a_storage_is_given_to_one_taker_at_a_time() -> None:
    pool = BufferPool()
    first = pool.take(100)
    second = pool.take(100)
    assert first.data_ptr() != second.data_ptr()
    address = first.data_ptr()
    del first
    assert pool.take(100).data_ptr() == address


def test_a_storage_that_outlives_its_tensor_is_not_given_away() -> None:
    tensor = take()
    storage, address = tensor.untyped_storage(), tensor.data_ptr()
    del tensor
    assert take().data_ptr() != address and storage.data_ptr() == address


def test_memory_that_has_become_shared_is_not_given_away() -> None:
    """Another process may use it, which no count of this one tells."""
    tensor = take().share_memory_()
    address = tensor.data_ptr()
    del tensor
    assert address not in {take().data_ptr() for _ in range(3)}


class Sums(Dataset):
    """Samples that a worker makes by an op and sends through shared memory."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> tuple[int, torch.Tensor]:
        return i, upsample_add(torch.full((1, 64, 64, 64), float(i)), torch.zeros(1, 64, 32, 32))


def test_a_worker_does_not_overwrite_what_it_has_sent() -> None:
    for i, sample in DataLoader(Sums(), batch_size=None, num_workers=1, prefetch_factor=8):
        time.sleep(0.02)
        assert (sample == i).all()


def test_threads_are_not_given_the_same_memory() -> None:
    users: dict[int, int] = {}
    stop = threading.Event()
    clashes = []

    def work(me: int) -> None:
        while not stop.is_set():
            address = (tensor := take()).data_ptr()
            if users.setdefault(address, me) != me:
                clashes.append(address)
            users.pop(address, None)
            del tensor

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        stop.wait(0.5)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
    for thread in threads:
        thread.join()
    assert not clashes


def test_a_signal_handler_may_call_an_op_that_it_interrupts() -> None:
    """It would wait for ever for a lock that the interrupted frame holds."""
    taken: list[torch.Tensor] = []
    armed = False

    def handler(*_: object) -> None:
        nonlocal armed
        taken.append(take())
        armed = False

    before = signal.signal(signal.SIGALRM, handler)
    try:
        while len(taken) < 50:
            if not armed:  # once: on a slow machine handlers would nest; no sooner, or a fast one is never interrupted
                armed = True
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + len(taken) % 10))
            tensor = take()
            assert tensor.data_ptr() not in {other.data_ptr() for other in list(taken)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len({tensor.data_ptr() for tensor in taken}) == len(taken)
