"""Labels of DeepLabCut and of Lightning Pose: project folders, folders with tables, and single tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hgfast import _checks
from hgfast.data.fields import AnnotationError, picture_path
from hgfast.data.frames import Frame, persons_of
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.label_h5 import read_h5
from hgfast.data.label_table import LabelTable, read_csv
from hgfast.data.person import Person

_ENDINGS = (".csv", ".h5")


def load_deeplabcut(
    annotations: str | Path,
    images: str | Path,
    table: KeypointSet,
    boxes: str = "picture",
    outside: str = "error",
) -> list[Person]:
    """Individuals of a DeepLabCut project, or of one table of DeepLabCut or Lightning Pose.

    Args:
        annotations: a project folder (all of its ``labeled-data/*/CollectedData_*.csv``, or ``.h5`` where there is no
            CSV beside), a folder with tables in it (Lightning Pose's ``CollectedData.csv``), or a table.
        images: folder that the pictures' names are relative to; "" for the project folder, or the table's own one.
        table: the keypoints to be read, each a body part of the file; other body parts are left out.
        boxes: "picture" or "keypoints", see :func:`hgfast.data.frames.persons_of`.
        outside: what becomes of points outside of their picture: "error", "hide" or "keep".

    Raises:
        FileNotFoundError: no such file or folder, or no table in it.
        AnnotationError: not such a table, a body part that is missing or comes twice, a cell that is no number, and
            whatever :func:`hgfast.data.frames.persons_of` finds; the message names file, row and column.
        TypeError, ValueError: arguments of another type, other words.
    """
    _checks.instance("", "table", table, KeypointSet)
    path = _checks.path("", "annotations", annotations)
    frames: list[Frame] = []
    for file in tables_of(path):
        content = read_table(file)
        missing = [name for name in table.names if name not in content.names]
        if missing:
            raise AnnotationError(f"{file}: body part {missing[0]!r} is missing")
        frames += _frames(content, _root(path, file) if str(images) == "" else Path(images), table.names)
    return persons_of(frames, table.names, boxes, outside)


def deeplabcut_keypoints(annotations: str | Path) -> KeypointSet:
    """Read the body parts of a project or table, and the skeleton of ``config.yaml`` (where PyYAML is there).

    Raises:
        FileNotFoundError, AnnotationError: as :func:`load_deeplabcut`; also where two tables have different body parts.
    """
    path = _checks.path("", "annotations", annotations)
    files = tables_of(path)
    names = read_table(files[0]).names
    for file in files[1:]:
        if (others := read_table(file).names) != names:
            different = sorted(set(names) ^ set(others)) or ["their order"]
            raise AnnotationError(f"{file}: other body parts than in {files[0]}: {different[0]}")
    try:
        return KeypointSet.from_table(
            {"name": path.stem, "names": names, "skeleton": _skeleton(path / "config.yaml", names)}, str(files[0])
        )
    except (TypeError, ValueError) as error:
        raise AnnotationError(str(error)) from None


def tables_of(path: Path) -> list[Path]:
    """Return the tables of a project or folder, or the one that the path is.

    Raises:
        FileNotFoundError: there is none.
    """
    if path.is_dir():
        for pattern in ("labeled-data/*/CollectedData*", "CollectedData*"):
            found = {file for ending in _ENDINGS for file in path.glob(pattern + ending)}
            if found:  # DeepLabCut writes both
                return sorted(f for f in found if f.suffix == ".csv" or f.with_suffix(".csv") not in found)
        raise FileNotFoundError(f"{path}: no labeled-data/*/CollectedData*.csv and no CollectedData*.csv in there")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found")
    return [path]


def read_table(path: Path) -> LabelTable:
    """Read one table, in CSV or HDF5; raises as :func:`load_deeplabcut`."""
    return read_h5(path) if path.suffix == ".h5" else read_csv(path)


def _frames(content: LabelTable, root: Path, names: tuple[str, ...]) -> Iterator[Frame]:
    for row, (number, name) in enumerate(zip(content.rows, content.pictures, strict=True)):
        where = f"{content.path}: row {number}"
        image = picture_path({"picture": name}, "picture", root, where)
        if not os.path.isfile(image) and os.path.isfile(beside := content.path.parent / image.name):
            image = beside  # the folder was renamed or moved since
        for individual in content.individuals:
            yield Frame(where, image, content.points_of(row, individual, names), individual)


def _root(path: Path, file: Path) -> Path:
    """Return the folder that the pictures' names are relative to."""
    if path.is_dir():
        return path
    return file.parents[2] if file.parent.parent.name == "labeled-data" else file.parent


def _skeleton(config: Path, names: list[str]) -> list[list[str]]:
    """Limbs of a project's config.yaml; none where it has none, or where PyYAML is missing."""
    try:
        import yaml
    except ImportError:
        return []
    if not config.is_file():
        return []
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{config}: not a YAML file ({str(error).splitlines()[0]})") from None
    links = content.get("skeleton") if isinstance(content, dict) else None
    return [link for link in links or [] if isinstance(link, list) and len(link) == 2 and set(link) <= set(names)]
