"""Memory of frozen networks in large pages, where the system has them.

A network of 200 MB of weights touches 50,000 pages of 4 KB at each call, more than a processor knows the addresses of
by heart: on a virtual machine, where an unknown address costs two dozen reads, weights came from memory at a third of
the speed that they have in pages of 2 MB.
"""

from __future__ import annotations

import mmap

import torch
from torch import Tensor

HUGE_PAGE = 2 << 20
CHUNK = 32 << 20
ALIGNMENT = 64


def allocate(nbytes: int, device: torch.device) -> Tensor:
    """uint8 of any contents, begun at a multiple of ALIGNMENT; on the host in large pages if that many are asked for.

    Linux gives large pages to those who ask (`madvise`), if it has any left; elsewhere, and for little, torch's memory.
    """
    if device.type != "cpu" or nbytes < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(nbytes, dtype=torch.uint8, device=device)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without large pages
        pass
    return torch.frombuffer(memory, dtype=torch.uint8)


class Pages:
    """Parts of larger pieces of memory, which live as long as one of their parts."""

    def __init__(self, device: torch.device) -> None:
        """device: of the memory; on another one than the host each part is a piece of its own."""
        self.device = device
        self._chunk, self._used = torch.empty(0, dtype=torch.uint8, device=device), 0

    def take(self, nbytes: int) -> Tensor:
        """uint8 of any contents, begun at a multiple of ALIGNMENT."""
        if self.device.type != "cpu":
            return allocate(nbytes, self.device)
        if self._used + nbytes > len(self._chunk):
            self._chunk, self._used = allocate(max(CHUNK, nbytes), self.device), 0
        begin = self._used
        self._used += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return self._chunk[begin : begin + nbytes]
