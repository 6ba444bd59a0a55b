"""MPII annotations in the HDF5 form of princeton-vl/pytorch_stacked_hourglass (``train.h5``, ``valid.h5``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast._extras import require
from hgfast.data.fields import LIMIT, AnnotationError, picture_path
from hgfast.data.hdf5 import check_strings
from hgfast.data.person import Person

_NUMBERS, _NAMES = "iuf", "SO"
_KINDS = {_NUMBERS: "numbers", _NAMES: "names"}
_FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {  # kind and shape without the number of persons
    "imgname": (_NAMES, ()),
    "center": (_NUMBERS, (2,)),
    "scale": (_NUMBERS, ()),
    "part": (_NUMBERS, (16, 2)),
    "normalize": (_NUMBERS, ()),
}


def load_princeton(annotations: str | Path, images: str | Path, pixel_origin: int = 0) -> list[Person]:
    """Read persons of a princeton-vl HDF5 file (needs h5py), as :func:`hgfast.data.load_mpii` gives them.

    The file's centres are moved down and its scales enlarged by 1.25 already; the latter is taken back, because
    hgfast's crops add their padding themselves. Unlabelled joints are (0, 0) there. Its field ``visible`` tells which
    joints are unoccluded and plays no part here.

    Args:
        annotations: file with ``imgname``, ``center``, ``scale``, ``part`` and ``normalize`` (head sizes).
        images: folder of the pictures; the names in the file must not lead out of it.
        pixel_origin: see :func:`hgfast.data.load_mpii`.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not HDF5, or a field missing or of another shape.
        ValueError: ``pixel_origin`` is neither 0 nor 1.
        TypeError: arguments of another type.
        ImportError: h5py is not installed.
    """
    pixel_origin = _checks.integer("", "pixel_origin", pixel_origin, 0, 1)
    folder = _checks.path("", "images", images)
    fields = _read(_checks.path("", "annotations", annotations))
    shift = np.float32(1 - pixel_origin)
    persons = []
    for i, name in enumerate(fields["imgname"]):
        where = f"{annotations}: entry {i}"
        name = os.fsdecode(name) if isinstance(name, (bytes, str)) else name
        scale, head_size = float(fields["scale"][i]), float(fields["normalize"][i])
        if scale <= 0 or head_size < 0:
            field, value = ("scale", scale) if scale <= 0 else ("normalize", head_size)
            raise AnnotationError(f"{where}: field {field!r}: expected a positive number, got {value}")
        side, part = np.float32(200 * scale / 1.25), fields["part"][i].astype(np.float32)
        persons.append(
            Person(
                image=picture_path({"imgname": name}, "imgname", folder, where),
                center=fields["center"][i].astype(np.float32) - np.float32(1),
                size=np.array([side, side], np.float32),
                keypoints=part - shift,
                visible=(part != 0).any(axis=1).astype(np.float32),
                head_size=head_size,
                area=float(side) ** 2 * 0.53,
                ident=(i, i),
            )
        )
    return persons


def _read(path: Path) -> dict[str, np.ndarray]:
    h5py = require("h5py", f"{path}: reading HDF5")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found")
    try:
        with h5py.File(path, "r") as file:
            fields = {name: _field(file, name, path) for name in _FIELDS}
    except AnnotationError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # what h5py raises for broken files
        raise AnnotationError(f"{path}: not an HDF5 file that can be read ({error})") from None
    for name, array in fields.items():
        if len(array) != len(fields["imgname"]):
            expected = len(fields["imgname"])
            raise AnnotationError(f"{path}: field {name!r}: expected {expected} entries as imgname, got {len(array)}")
    return fields


def _field(file: Any, name: str, path: Path) -> np.ndarray:
    """Read a field of the file, numbers or names; nothing is read before its shape and type are known to be right."""
    kind, shape = _FIELDS[name]
    data = file.get(name)
    if data is None:
        raise AnnotationError(f"{path}: field {name!r} is missing")
    if getattr(data, "shape", None) is None or not data.shape or data.shape[1:] != shape:
        raise AnnotationError(
            f"{path}: field {name!r}: expected shape {('N', *shape)}, got {getattr(data, 'shape', 'a group')}"
        )
    if data.dtype.kind not in kind:
        raise AnnotationError(f"{path}: field {name!r}: expected {_KINDS[kind]}, got {data.dtype}")
    if data.nbytes > 2000 * path.stat().st_size:  # packed by more than gzip can
        raise AnnotationError(f"{path}: field {name!r}: {data.nbytes} bytes in a file of {path.stat().st_size}")
    check_strings(data)
    array = np.asarray(data)
    if kind == _NUMBERS and not (np.abs(array) <= LIMIT).all():
        entry = int(np.argmin((np.abs(array) <= LIMIT).reshape(len(array), -1).all(axis=1)))
        raise AnnotationError(f"{path}: entry {entry}: field {name!r} holds NaN, infinity or a number beyond {LIMIT:g}")
    return array
