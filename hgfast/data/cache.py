"""Stores of decoded pictures: a bounded one in a process's memory, and one in files that all processes share."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np

from hgfast import _checks
from hgfast.data.images import read_image
from hgfast.files import atomic_write

log = logging.getLogger("hgfast")


class ImageCache:
    """Reads pictures, from the file cache where there is one, and keeps those used last in memory.

    Args:
        cache_mb: of the pictures in memory, MiB; 0 keeps none.
        folder: of the file cache; "" for none.

    Raises:
        TypeError, ValueError: arguments of other types, a negative limit.
    """

    def __init__(self, cache_mb: int = 0, folder: str | Path = "") -> None:
        self._limit = _checks.integer("", "cache_mb", cache_mb, 0, 1 << 30) * 2**20
        self._held = 0
        self._images: OrderedDict[tuple[Path, int], np.ndarray] = OrderedDict()
        self._read = read_image if folder == "" else FileCache(folder).read

    def read(self, path: Path, reduce: int = 1) -> np.ndarray:
        """Read a picture decoded at ``1 / reduce`` of its size; errors as read_image."""
        key = (path, reduce)
        image = self._images.get(key)
        if image is None:
            image = self._read(path, reduce)
            self._keep(key, image)
        else:
            self._images.move_to_end(key)
        return image

    def _keep(self, key: tuple[Path, int], image: np.ndarray) -> None:
        if image.nbytes > self._limit:
            return
        self._images[key] = image
        self._held += image.nbytes
        while self._held > self._limit:
            self._held -= self._images.popitem(last=False)[1].nbytes


class FileCache:
    """Decoded pictures as raw files in a folder, mapped into memory: loader processes share the pages.

    A file belongs to one state (path, size, time of change) of a picture and one reduction; a changed picture is
    decoded anew. Nothing is ever deleted: a 1280x720 picture takes 2.8 MB, at half size 0.7 MB.

    Args:
        folder: made if it is not there.

    Raises:
        TypeError, ValueError: no path.
    """

    _HEADER = struct.Struct("<II")  # height, width

    def __init__(self, folder: str | Path) -> None:
        self.folder = _checks.path("", "folder", folder)
        self._full = False

    def read(self, path: str | Path, reduce: int = 1) -> np.ndarray:
        """Read a picture at ``1 / reduce`` of its size, read-only where it comes from a file; errors as read_image."""
        _checks.path("", "path", path)
        try:
            state = os.stat(path)
        except OSError:
            return read_image(path, reduce)
        key = f"{os.path.abspath(path)}|{state.st_size}|{state.st_mtime_ns}|{reduce}"
        file = self.folder / f"{hashlib.blake2b(os.fsencode(key), digest_size=16).hexdigest()}.bgr"
        image = self._mapped(file)
        if image is None:
            image = read_image(path, reduce)
            self._store(file, image)
        return image

    def _mapped(self, file: Path) -> np.ndarray | None:
        """Return the picture in a file of this cache; None where there is none, or not a whole one."""
        try:
            with open(file, "rb") as handle:
                data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # ValueError: an empty file
            return None
        if len(data) < self._HEADER.size:
            return None
        height, width = self._HEADER.unpack_from(data)
        if height * width == 0 or len(data) != self._HEADER.size + height * width * 3:
            return None
        return np.frombuffer(data, np.uint8, offset=self._HEADER.size).reshape(height, width, 3)

    def _store(self, file: Path, image: np.ndarray) -> None:
        """Write a picture; where that fails (disk full, no permission) goes on without, and says so once."""
        if self._full:
            return
        try:
            with atomic_write(file) as handle:
                handle.write(self._HEADER.pack(*image.shape[:2]))
                handle.write(np.ascontiguousarray(image).data)
        except OSError as error:
            self._full = True
            log.warning("cache_dir %s: no further pictures are kept (%s)", self.folder, error)
