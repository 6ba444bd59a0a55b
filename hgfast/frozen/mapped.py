"""The file that a frozen network was read from, whose pages its weights are."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from pathlib import Path

from torch import Tensor

_PAGEOUT = 21  # MADV_PAGEOUT of Linux: pages of a file are forgotten, and those that were written to stay
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class MappedFile:
    """Keeps watch over a file that tensors are mapped from, privately, and gives their memory back.

    A tensor's pages are read when they are first touched. Kernels read packed weights and copies of all else, so the
    file is wanted while weights are packed, and again only for another packing. Who replaces it under its name does no
    harm (:meth:`FrozenModel.save` does so): the old one lives as long as it is mapped. Writing into it would change
    weights that are in use, and cutting it short would end a process that reads it, so :meth:`check` is to be called
    before each use.

    Attributes:
        path: where the file was.
    """

    def __init__(self, path: Path) -> None:
        """path: of a file that will be mapped; raises OSError where it cannot be read."""
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        self._version = self._found()

    def check(self) -> None:
        """See that the file is what it was.

        Raises:
            RuntimeError: it was written to or cut short since.
        """
        if self._found() != self._version:
            raise RuntimeError(
                f"{self.path}: this file was written to after a frozen network was loaded from it, whose weights are "
                "read from there when they are needed; load it again, and replace such a file under its name "
                "(os.replace), as FrozenModel.save does"
            )

    def release(self, *tensors: Tensor | None) -> None:
        """Forget the pages of mapped tensors until they are read again; without effect where the system has no way."""
        for tensor in tensors:
            if tensor is None:
                continue
            begin = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE  # neighbours share the outermost pages
            end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
            if end > begin:
                _madvise(begin, end - begin, _PAGEOUT)

    def _found(self) -> tuple[int, int]:
        status = os.fstat(self._handle)
        return status.st_size, status.st_mtime_ns
