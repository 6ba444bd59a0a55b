"""What is looked at in an HDF5 file before its library reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

_ENTRY = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])  # of a string kept elsewhere in the file


def check_strings(data: Any) -> None:
    """Raise where strings of any length in a dataset are longer than the file: memory is taken before they are read.

    Only those without compression are seen.

    Raises:
        ValueError: a length beyond the file's size.
    """
    if data.dtype.kind != "O" or not data.size:
        return
    path, layout = Path(os.fsdecode(data.file.filename)), data.id
    size = path.stat().st_size
    places = [(layout.get_offset(), layout.get_storage_size())]
    if data.chunks is not None:
        chunks = (layout.get_chunk_info(i) for i in range(layout.get_num_chunks()))
        places = [(chunk.byte_offset, chunk.size) for chunk in chunks if data.compression is None]
    with path.open("rb") as file:
        for offset, count in places:
            if offset is None or count > size:
                continue
            file.seek(offset)
            stored = file.read(count // _ENTRY.itemsize * _ENTRY.itemsize)
            lengths = np.frombuffer(stored[: len(stored) // _ENTRY.itemsize * _ENTRY.itemsize], _ENTRY)["length"]
            if (lengths > size).any():
                raise ValueError(f"a string of {lengths.max()} bytes in a file of {size}")
