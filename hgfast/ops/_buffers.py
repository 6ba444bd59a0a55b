"""Memory of large CPU outputs, used again.

glibc hands blocks of 32 MiB and more back to the system when they are freed, and the end of its heap too, as when the
backward pass has dropped what was kept for it. Fetching 34 MB anew costs 8 to 10 ms of page faults where a pass over it
costs 1 ms. So large outputs are laid into storages that are kept, and given out again when no tensor refers to them any
more (their use count says so). Smaller ones, and all on CUDA, are torch's.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Sequence

import torch

SMALLEST = 1 << 20
LIMIT = int(os.environ.get("HGFAST_BUFFER_MB", "2048")) << 20  # bytes kept without use at most


class BufferPool:
    """Storages by size; those in use are known only to be so."""

    def __init__(self, limit: int = LIMIT) -> None:
        """limit: bytes of storages, in use or not, up to which unused ones are kept."""
        self.limit = limit
        self.storages: dict[int, list[torch.UntypedStorage]] = defaultdict(list)
        self.lock = threading.Lock()

    def take(self, size: int) -> torch.UntypedStorage:
        """A storage of `size` bytes that no tensor uses."""
        with self.lock:
            for storage in self.storages[size]:
                if _unused(storage):
                    return storage
            if self.held() + size > self.limit:
                self._drop_unused()
            storage = torch.UntypedStorage(size)
            if self.held() + size <= self.limit:
                self.storages[size].append(storage)
            return storage

    def held(self) -> int:
        """Bytes of all storages of the pool."""
        return sum(size * len(storages) for size, storages in self.storages.items())

    def _drop_unused(self) -> None:
        for size, storages in self.storages.items():
            self.storages[size] = [storage for storage in storages if not _unused(storage)]


def _unused(storage: torch.UntypedStorage) -> bool:
    return torch._C._storage_Use_Count(storage._cdata) == 1


POOL = BufferPool()


def empty_strided(size: Sequence[int], stride: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """An uninitialised dense tensor of these sizes and strides, of like's dtype and device."""
    count = like.element_size()
    for length in size:
        count *= length
    if count < SMALLEST or like.device.type != "cpu" or not hasattr(torch._C, "_storage_Use_Count"):
        return torch.empty_strided(size, stride, dtype=like.dtype, device=like.device)
    return torch.empty(0, dtype=like.dtype).set_(POOL.take(count), 0, size, stride)  # type: ignore[call-overload]


def empty_like(x: torch.Tensor) -> torch.Tensor:
    """An uninitialised tensor like a dense x, strides included."""
    return empty_strided(x.shape, x.stride(), x)


def empty_nhwc(size: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """An uninitialised (N, C, H, W) in channels_last, of like's dtype and device."""
    _, c, h, w = size
    return empty_strided(size, (h * w * c, 1, w * c, c), like)
