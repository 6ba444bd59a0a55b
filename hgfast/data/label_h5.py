"""DeepLabCut's labels in HDF5, for projects without CSV: pandas' two forms, read without running what is in them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from hgfast._extras import require
from hgfast.data.fields import LIMIT, AnnotationError
from hgfast.data.hdf5 import check_strings
from hgfast.data.label_table import LabelTable, column_places

_BROKEN = (OSError, RuntimeError, KeyError, TypeError, ValueError, IndexError, AttributeError, pickle.UnpicklingError)
_HEADER_ROWS = 3  # of the CSV that DeepLabCut writes beside, whose rows messages count


def read_h5(path: Path) -> LabelTable:
    """Read a table in HDF5 as pandas writes it, in its form "table" or "fixed" (needs h5py).

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not such a file, or what :func:`hgfast.data.label_table.read_csv` refuses; the message counts
            rows as a CSV of the same table would.
        ImportError: h5py is not installed.
    """
    h5py = require("h5py", f"{path}: reading HDF5", "labs")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found")
    try:
        with h5py.File(path, "r") as file:
            group = file[next(iter(file))]
            kind = group.attrs["pandas_type"]
            columns, pictures, values = (_table if kind == b"frame_table" else _fixed)(group, path.stat().st_size)
    except _BROKEN as error:
        raise AnnotationError(f"{path}: not a table of pandas that can be read ({error}); give its CSV") from None
    if values.shape != (len(pictures), len(columns)) or len(columns[0]) not in (3, 4):
        raise AnnotationError(f"{path}: expected scorer, (individuals,) bodyparts, coords; got columns {columns[:1]}")
    places = column_places([("" if len(c) == 3 else c[1], c[-2], c[-1]) for c in columns], str(path))
    first = _HEADER_ROWS + len(columns[0]) - 2
    points = np.stack([values[:, list(xy)] for xy in places.values()], axis=1)
    for row, part in np.argwhere(np.isinf(points).any(axis=2) | (np.abs(points) > LIMIT).any(axis=2))[:1]:
        raise AnnotationError(f"{path}: row {row + first}: {list(places)[part][1]!r}: not a number of pixels")
    for row, part in np.argwhere(np.isnan(points[..., 0]) != np.isnan(points[..., 1]))[:1]:
        raise AnnotationError(f"{path}: row {row + first}: {list(places)[part][1]!r} has only one of x and y")
    names = [name.replace("\\", "/") for name in pictures]
    return LabelTable(path, list(places), points, names, [n + first for n in range(len(pictures))])


def _table(group: Any, size: int) -> tuple[list[tuple[str, ...]], list[str], np.ndarray]:
    """Form "table": one structured array, the columns' names pickled beside it."""
    data = group["table"]
    _check_size(data, size)
    axes = _plain(group.attrs["non_index_axes"])
    rows = np.asarray(data)
    blocks = [name for name in rows.dtype.names or () if name.startswith("values_block_")]
    if len(blocks) != 1:
        raise ValueError(f"expected numbers of one type, got {len(blocks)} blocks")
    columns = [tuple(map(_text, column)) for column in axes[0][1]]
    return columns, [_text(name) for name in rows["index"]], rows[blocks[0]].reshape(len(rows), -1)


def _fixed(group: Any, size: int) -> tuple[list[tuple[str, ...]], list[str], np.ndarray]:
    """Form "fixed": an array for the numbers, and arrays for the levels and codes of both axes."""
    if int(group.attrs["nblocks"]) != 1:
        raise ValueError("expected numbers of one type")
    columns, pictures = (_axis(group, name, size) for name in ("block0_items", "axis1"))
    _check_size(group["block0_values"], size)
    return (
        columns,
        ["/".join(filter(None, names)) for names in pictures],
        np.asarray(group["block0_values"], np.float64),
    )


def _axis(group: Any, name: str, size: int) -> list[tuple[str, ...]]:
    """Return the entries of an axis, each of one or several levels."""
    if group.attrs[f"{name}_variety"] != b"multi":
        _check_size(group[name], size)
        return [(_text(entry),) for entry in np.asarray(group[name])]
    levels = []
    for level in range(int(group.attrs[f"{name}_nlevels"])):
        values, codes = group[f"{name}_level{level}"], group[f"{name}_label{level}"]
        for data in (values, codes):
            _check_size(data, size)
        texts = [_text(entry) for entry in np.asarray(values)]
        levels.append([texts[code] for code in np.asarray(codes)])
    return list(zip(*levels, strict=True))


def _check_size(data: Any, size: int) -> None:
    if data.nbytes > 2000 * size:  # packed by more than gzip can
        raise ValueError(f"{data.nbytes} bytes in a file of {size}")
    check_strings(data)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class _Plain(pickle.Unpickler):
    """Builds lists, tuples, numbers and texts; looks up nothing, so that nothing in the file can run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _plain(content: Any) -> Any:
    return _Plain(io.BytesIO(bytes(content)), encoding="bytes").load()
