"""MPII annotations in the HDF5 form of princeton-vl/pytorch_stacked_hourglass (``train.h5``, ``valid.h5``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hgfast.data.person import AnnotationError, Person

_FIELDS = {"imgname": None, "center": (2,), "scale": (), "part": (16, 2), "normalize": ()}


def load_princeton(annotations: str | Path, images: str | Path, pixel_origin: int = 0) -> list[Person]:
    """Persons of a princeton-vl HDF5 file (needs h5py), as :func:`hgfast.data.load_mpii` gives them.

    The file's centres are moved down and its scales enlarged by 1.25 already; the latter is taken back, because
    hgfast's crops add their padding themselves. Unlabelled joints are (0, 0) there. Its field ``visible`` tells which
    joints are unoccluded and plays no part here.

    Args:
        annotations: file with ``imgname``, ``center``, ``scale``, ``part`` and ``normalize`` (head sizes).
        images: folder of the pictures.
        pixel_origin: see :func:`hgfast.data.load_mpii`.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not HDF5, or a field missing or of another shape.
        ImportError: h5py is not installed.
    """
    if pixel_origin not in (0, 1):
        raise ValueError(f"pixel_origin: expected 0 or 1, got {pixel_origin!r}")
    fields = _read(Path(annotations))
    shift = np.float32(1 - pixel_origin)
    persons = []
    for i, name in enumerate(fields["imgname"]):
        part = fields["part"][i].astype(np.float32)
        side = np.float32(200 * fields["scale"][i] / 1.25)
        persons.append(
            Person(
                image=Path(images) / (name.decode() if isinstance(name, bytes) else str(name)),
                center=fields["center"][i].astype(np.float32) - np.float32(1),
                size=np.array([side, side], np.float32),
                keypoints=part - shift,
                visible=(part != 0).any(axis=1).astype(np.float32),
                head_size=float(fields["normalize"][i]),
                area=float(side) ** 2 * 0.53,
                ident=(i, i),
            )
        )
    return persons


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise ImportError(f"{path}: reading HDF5 needs h5py (pip install 'hgfast[train]')") from None
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found")
    try:
        with h5py.File(path, "r") as file:
            fields = {name: np.asarray(file[name]) for name in _FIELDS if name in file}
    except OSError:
        raise AnnotationError(f"{path}: not an HDF5 file") from None
    for name, shape in _FIELDS.items():
        if name not in fields:
            raise AnnotationError(f"{path}: field {name!r} is missing")
        if shape is not None and fields[name].shape != (len(fields["imgname"]), *shape):
            raise AnnotationError(f"{path}: field {name!r}: expected shape (N, *{shape}), got {fields[name].shape}")
    return fields
