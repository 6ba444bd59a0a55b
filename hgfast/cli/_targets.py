"""The files that ``hgfast predict`` writes for its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.cli._inputs import is_video
from hgfast.data.person import read_json
from hgfast.deeplabcut_results import check_deeplabcut_path, write_deeplabcut
from hgfast.files import check_writable

PICTURES = "pictures"  # the name of the table of all pictures


class Targets:
    """Names of results in a folder.

    Args:
        folder: where they go.
        tables: forms of tables, "csv" or "h5".
    """

    def __init__(self, folder: Path, tables: Sequence[str]) -> None:
        self.folder, self.forms = folder, tuple(dict.fromkeys(tables))

    def json(self, path: Path) -> Path:
        """Return the path of an input's persons."""
        return self.folder / f"{path.stem}.json"

    def drawing(self, path: Path) -> Path:
        """Return the path of an input with skeletons."""
        return self.folder / f"{path.stem}_keypoints{'.mp4' if is_video(path) else '.png'}"

    def tables(self, path: Path) -> list[Path]:
        """Return the paths of a video's tables, or of the one of all pictures."""
        stem = path.stem if is_video(path) else PICTURES
        return [self.folder / f"{stem}.{form}" for form in self.forms]

    def write_picture_tables(self, pictures: Sequence[Path], names: Sequence[str]) -> None:
        """Write the tables of all pictures, from what was written of each: by whichever process, or in an earlier run.

        Args:
            pictures: those that are done.
            names: of the joints.

        Raises:
            OSError, ValueError: a picture's file is not there any more, or is another one.
        """
        if not (self.forms and pictures):
            return
        rows = [read_json(self.json(path)) for path in pictures]
        for table in self.tables(pictures[0]):
            write_table(table, [path.name for path in pictures], rows, names)

    def check(self, paths: list[Path], read: list[Path]) -> None:
        """Refuse to overwrite what this run reads; earlier results are overwritten.

        Raises:
            ValueError: they would; or two results have one name.
            ImportError: a table's form needs a package that is not installed.
            OSError: one cannot be written.
        """
        for path in paths:
            for table in self.tables(path):
                check_deeplabcut_path(table)
            for target in (self.json(path), self.drawing(path), *self.tables(path)):
                check_writable(target)
                same = [source for source in read if target.exists() and source.exists() and target.samefile(source)]
                if same:
                    raise ValueError(f"--output {self.folder}: {target.name} would overwrite the input {same[0]}")
        if self.forms and any(path.stem == PICTURES and is_video(path) for path in paths):
            raise ValueError(f"--table: the table of all pictures would be that of the video {PICTURES!r}, too")


def write_table(
    path: Path, index: Sequence[int] | Sequence[str], rows: list[list[dict[str, Any]]], names: Sequence[str]
) -> None:
    """Write rows of persons as a table of DeepLabCut's shape, see :func:`hgfast.results.instances`.

    A person's individual is its track's number, or without one its place among the persons of the row.
    """
    places = [[person.get("track_id", place + 1) for place, person in enumerate(row)] for row in rows]
    shape = len(rows), max([1, *(number for row in places for number in row)]), len(names)
    keypoints, scores = np.full((*shape, 2), np.nan), np.full(shape, np.nan)
    for number, row in enumerate(rows):
        for place, person in zip(places[number], row, strict=True):
            keypoints[number, place - 1] = np.array(person["keypoints"], float)  # JSON has None for NaN
            scores[number, place - 1] = np.array(person["keypoint_scores"], float)
    write_deeplabcut(path, index, names, keypoints, scores)
