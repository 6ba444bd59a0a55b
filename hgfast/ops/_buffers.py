"""Memory of large CPU outputs, used again.

glibc hands blocks of 32 MiB and more back to the system when they are freed, and the end of its heap too, as when the
backward pass has dropped what was kept for it. Fetching 34 MB anew costs 8 to 10 ms of page faults where a pass over it
costs 1 ms. So large outputs are laid into storages that are kept, and given out again when nobody refers to them any
more: no tensor (the storage's use count says so), no Python object (its reference count), no other process (memory that
has become shared is let go). Smaller ones, and all on CUDA, are torch's.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Sequence

import torch

SMALLEST = 1 << 20
LIMIT = int(os.environ.get("HGFAST_BUFFER_MB", "2048")) << 20  # bytes kept without use at most


class BufferPool:
    """Storages by size; those in use are known only to be so.

    There is no lock, which a fork or a signal handler could find taken: a storage is found free by a look at its
    counts that comes after the taker's own reference. Of two threads that look at the same one, none takes it.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        """limit: bytes of storages, in use or not, up to which unused ones are kept."""
        self.limit = limit
        self.storages: dict[int, list[torch.UntypedStorage]] = defaultdict(list)

    def take(self, size: int) -> torch.UntypedStorage:
        """Take a storage of `size` bytes that nobody uses and that nobody else is given while the caller holds it."""
        kept = self.storages[size]
        storage = _free(kept, _REFERENCES)
        if storage is not None:
            return storage
        self.storages[size] = [each for each in kept if not each.is_shared() and each.nbytes() == size]
        if self.held() + size > self.limit:
            self._drop_unused()
        storage = torch.UntypedStorage(size)
        if self.held() + size <= self.limit:
            self.storages[size].append(storage)
        return storage

    def held(self) -> int:
        """Count the bytes of all storages of the pool."""
        return sum(size * len(storages) for size, storages in list(self.storages.items()))

    def _drop_unused(self) -> None:
        for size, storages in list(self.storages.items()):
            self.storages[size] = [each for each in storages if torch._C._storage_Use_Count(each._cdata) > 1]


def _free(storages: list[torch.UntypedStorage], references: int) -> torch.UntypedStorage | None:
    """Return the first of them to which only the list and this function hold a reference: so many `references`."""
    for storage in storages:
        unused = sys.getrefcount(storage) <= references and torch._C._storage_Use_Count(storage._cdata) == 1
        if unused and not storage.is_shared():
            return storage
    return None


def _own_references() -> int:
    """Count what `_free` counts for a storage that nobody uses; it depends on Python's version."""
    storages, references = [torch.UntypedStorage(1)], 1
    while _free(storages, references) is None:
        references += 1
    return references


_COUNTED = hasattr(torch._C, "_storage_Use_Count")
_REFERENCES = _own_references() if _COUNTED else 0
POOL = BufferPool()


def empty_strided(size: Sequence[int], stride: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """Return an uninitialised dense tensor of these sizes and strides, of like's dtype and device."""
    count = like.element_size()
    for length in size:
        count *= length
    if count < SMALLEST or like.device.type != "cpu" or not _COUNTED:
        return like.new_empty_strided(size, stride)
    return torch.empty(0, dtype=like.dtype).set_(POOL.take(count), 0, size, stride)  # type: ignore[call-overload]


def empty_reused(x: torch.Tensor) -> torch.Tensor:
    """Return an uninitialised tensor like a dense x, strides included."""
    return empty_strided(x.shape, x.stride(), x)


def empty_nhwc(size: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """Return an uninitialised (N, C, H, W) in channels_last, of like's dtype and device."""
    _, c, h, w = size
    return empty_strided(size, (h * w * c, 1, w * c, c), like)
