"""Predictions in the shape of DeepLabCut's tables: scorer, (individuals,) bodyparts, coords x, y and likelihood."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast._extras import require
from hgfast.files import atomic_write, write_text

SUFFIXES = (".csv", ".h5")
_COORDS = ("x", "y", "likelihood")
_KEY = "df_with_missing"  # what DeepLabCut calls the table in its HDF5 files


def write_deeplabcut(
    path: str | Path,
    index: Sequence[int] | Sequence[str],
    names: Sequence[str],
    keypoints: np.ndarray,
    scores: np.ndarray,
    scorer: str = "hgfast",
) -> None:
    """Write predictions as DeepLabCut's ``analyze_videos`` does, as CSV or HDF5 (needs pandas and tables).

    With one individual the header has DeepLabCut's three rows, with several its four (``individual1``, ...).

    Args:
        path: a file that ends in ``.csv`` or ``.h5``; replaced as a whole.
        index: N numbers of frames, or names of pictures.
        names: the K body parts.
        keypoints: (N, P, K, 2) pixels of P individuals; NaN where there is none.
        scores: (N, P, K); written as ``likelihood``, cut off at 0 and 1 (maxima of heatmaps may lie beyond).
        scorer: who labelled, DeepLabCut's first header row.

    Raises:
        TypeError, ValueError: arguments of other types or shapes, another ending.
        ImportError: pandas or tables is not installed, for ``.h5``.
        OSError: the file cannot be written.
    """
    where = "write_deeplabcut"
    path = check_deeplabcut_path(path)
    _checks.instance(where, "index", index, Sequence, np.ndarray)
    _checks.instance(where, "names", names, Sequence)
    _checks.instance(where, "scorer", scorer, str)
    keypoints = _checks.array(where, "keypoints", keypoints, (len(index), None, len(names), 2))
    scores = _checks.array(where, "scores", scores, keypoints.shape[:3], why="as keypoints")
    individuals = [f"individual{i + 1}" for i in range(keypoints.shape[1])]
    several = len(individuals) > 1
    header = ["scorer", *(["individuals"] if several else []), "bodyparts", "coords"]
    columns = [
        (scorer, *([who] if several else []), name, place) for who in individuals for name in names for place in _COORDS
    ]
    values = np.concatenate([keypoints, np.clip(scores, 0, 1)[..., None]], axis=3).reshape(len(index), len(columns))
    if path.suffix == ".csv":
        write_text(path, _csv(header, columns, index, values))
    else:
        _write_h5(path, header, columns, index, values)


def check_deeplabcut_path(path: str | Path) -> Path:
    """Return the path if :func:`write_deeplabcut` can write to it, before the work; raises what that does."""
    path = _checks.path("write_deeplabcut", "path", path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    if path.suffix == ".h5":
        for package in ("pandas", "tables"):
            require(package, f"{path}: writing DeepLabCut's HDF5", "labs")
    return path


def _csv(header: list[str], columns: list[tuple[str, ...]], index: Sequence[Any], values: np.ndarray) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for level, title in enumerate(header):
        writer.writerow([title, *(column[level] for column in columns)])
    for name, row in zip(index, values.tolist(), strict=True):
        writer.writerow([name, *("" if value != value else f"{value:.9g}" for value in row)])
    return text.getvalue()


def _write_h5(
    path: Path, header: list[str], columns: list[tuple[str, ...]], index: Sequence[Any], values: np.ndarray
) -> None:
    pandas = require("pandas", "writing DeepLabCut's HDF5", "labs")
    frame = pandas.DataFrame(
        values.astype(np.float64),
        columns=pandas.MultiIndex.from_tuples(columns, names=header),
        index=list(index),
    )
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "table.h5"  # pandas writes to names only
        frame.to_hdf(temporary, key=_KEY, format="table", mode="w")
        with atomic_write(path) as file:
            file.write(temporary.read_bytes())
