"""What ``hgfast predict`` looks at: pictures, folders and videos, and the persons' boxes in them."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.data import load_mpii
from hgfast.data.person import read_json
from hgfast.data.video import VIDEO_SUFFIXES

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(names: list[str]) -> list[Path]:
    """Files of the names given; folders stand for the pictures and videos in them, sorted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder without pictures, or two files whose results would have the same name.
    """
    paths: list[Path] = []
    for path in map(Path, names):
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in PICTURE_SUFFIXES + VIDEO_SUFFIXES]
            if not inside:
                raise ValueError(f"{path}: no pictures or videos in this folder")
            paths += inside
        elif path.is_file():
            paths.append(path)
        else:
            raise FileNotFoundError(f"{path}: {'video' if is_video(path) else 'picture'} not found")
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise ValueError(f"inputs: several files are called {twice[0]!r}, and their results would be too")
    return paths


class BoxSource:
    """Boxes of every input, from ``--box``, ``--boxes`` or ``--annotations``; the whole picture without these.

    Raises:
        ValueError: more than one of the options, or boxes that do not fit the inputs; the message names the option.
    """

    def __init__(self, options: argparse.Namespace, paths: list[Path]) -> None:
        given = [name for name in ("box", "boxes", "annotations") if getattr(options, name)]
        if len(given) > 1:
            raise ValueError(f"--{given[0]} and --{given[1]}: give one of the two")
        self._by_name: dict[str, Any] | None = None
        if options.box:
            if len(paths) != 1:
                raise ValueError(f"--box: expected a single picture or video, got {len(paths)}")
            self._by_name = {paths[0].name: np.array([_parse_box(text) for text in options.box], np.float32)}
        elif options.boxes:
            self._by_name = _read_boxes(options.boxes)
        elif options.annotations:
            self._by_name = _annotated_boxes(options.annotations)
        missing = [path.name for path in paths if self._by_name is not None and path.name not in self._by_name]
        if missing:
            raise ValueError(f"--{given[0]}: no boxes for {', '.join(missing[:5])}")

    def of_picture(self, path: Path) -> Any:
        """Boxes (P, 4) of a picture, or None for the whole of it."""
        boxes = None if self._by_name is None else self._by_name[path.name]
        if _depth(boxes) > 2:
            raise ValueError(f"--boxes: {path.name} has boxes for several frames, but it is a picture")
        return boxes

    def of_frames(self, path: Path) -> Iterator[Any]:
        """Boxes of the frames of a video, one after the other: the same for all, or a list for each frame."""
        boxes = None if self._by_name is None else self._by_name[path.name]
        yield from boxes if boxes is not None and _depth(boxes) > 2 else repeat(boxes)
        raise ValueError(f"--boxes: {path.name} has boxes for fewer frames than the video has")


def _depth(boxes: Any) -> int:
    """How deep lists are nested: 2 for (P, 4), 3 for boxes of several frames; frames without persons count, too."""
    if not isinstance(boxes, (list, np.ndarray)):
        return 0
    return 1 + max((_depth(item) for item in boxes), default=1)


def _parse_box(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"--box {text}: expected X1,Y1,X2,Y2 with X1 < X2 and Y1 < Y2, in pixels")
    return box


def _read_boxes(file: str) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(boxes, list) for boxes in content.values()):
        raise ValueError(f'--boxes {file}: expected an object like {{"a.jpg": [[x1, y1, x2, y2], ...], ...}}')
    return content


def _annotated_boxes(annotations: str) -> dict[str, Any]:
    by_name = defaultdict(list)
    for person in load_mpii(annotations, "."):
        by_name[person.image.name].append(np.r_[person.center - person.size / 2, person.center + person.size / 2])
    return {name: np.array(boxes, np.float32) for name, boxes in by_name.items()}
