"""A bounded store of decoded pictures."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np

from hgfast.data.images import read_image


class ImageCache:
    """Reads pictures and keeps the ones used last, up to ``limit_mb`` MiB (0: none)."""

    def __init__(self, limit_mb: int = 0) -> None:
        self._limit = limit_mb * 2**20
        self._held = 0
        self._images: OrderedDict[tuple[Path, int], np.ndarray] = OrderedDict()

    def read(self, path: Path, reduce: int = 1) -> np.ndarray:
        """Picture decoded at ``1 / reduce`` of its size; errors as read_image."""
        key = (path, reduce)
        image = self._images.get(key)
        if image is None:
            image = read_image(path, reduce)
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
