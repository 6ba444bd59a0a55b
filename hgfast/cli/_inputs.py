"""What ``hgfast predict`` looks at: pictures, folders and videos, and the persons' boxes in them."""

from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from hgfast.data import load_mpii
from hgfast.data.person import read_json
from hgfast.data.video import VIDEO_SUFFIXES
from hgfast.predict.inputs import WHOLE, check_boxes

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
            inside = [p for p in inside if not p.is_dir()]
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
    """Boxes of every input, from ``--box``, ``--boxes`` or ``--annotations``, or with ``--whole-picture`` all of it.

    Files call a picture by its path from the folder of all pictures. Where that is, they do not say: an input has the
    boxes of the longest name that its own path ends in.

    Raises:
        ValueError: more than one of the options, or boxes that do not fit the inputs; the message names the option.
        OSError: no such file.
    """

    def __init__(self, options: argparse.Namespace, paths: list[Path]) -> None:
        given = [
            name for name in ("box", "boxes", "annotations", "whole_picture", "detector") if getattr(options, name)
        ]
        if len(given) > 1:
            first, second = (name.replace("_", "-") for name in given[:2])
            raise ValueError(f"--{first} and --{second}: give one of the two")
        self.given = bool(given)
        self._boxes: dict[Path, Any] | None = None
        if options.box:
            if len(paths) != 1:
                raise ValueError(f"--box: expected a single picture or video, got {len(paths)}")
            self._boxes = {paths[0]: np.concatenate([_parse_box(text) for text in options.box])}
        elif options.boxes:
            self._source = f"--boxes {options.boxes}"
            self._boxes = _of_paths(self._source, paths, _read_boxes(options.boxes))
            for path, boxes in self._boxes.items():
                _check(self._source, path, boxes)
        elif options.annotations:
            self._source = f"--annotations {options.annotations}"
            self._boxes = _of_paths(self._source, paths, _annotated_boxes(options.annotations))

    def of_picture(self, path: Path) -> Any:
        """Return boxes (P, 4) of a picture, or the word for the whole of it."""
        return WHOLE if self._boxes is None else self._boxes[path]

    def check(self, whole_pictures: bool) -> None:
        """Raise ValueError where there are no boxes, unless the network was trained on whole pictures."""
        if not self.given and not whole_pictures:
            raise ValueError(
                "no boxes: give them by --box, --boxes or --annotations, have them found by --detector, or say "
                "--whole-picture, if each picture shows one individual who fills it"
            )

    def of_frames(self, path: Path) -> Iterator[Any]:
        """Yield boxes of the frames of a video, one after the other: the same for all, or a list for each frame."""
        boxes = self.of_picture(path)
        yield from boxes if _has_frames(boxes) else repeat(boxes)
        raise ValueError(f"{self._source}: {path.name} has boxes for fewer frames than the video has")


def _has_frames(boxes: Any) -> bool:
    """Whether boxes are a list of lists (P, 4), one for each frame; frames without persons count, too."""
    lists = [item for item in boxes if isinstance(item, list)] if isinstance(boxes, list) else []
    return any(not item or any(isinstance(box, list) for box in item) for item in lists)


def _check(source: str, path: Path, boxes: Any) -> None:
    if not _has_frames(boxes):
        check_boxes(boxes, f"{source}: {path.name}")
    elif not is_video(path):
        raise ValueError(f"{source}: {path.name} has boxes for several frames, but it is a picture")
    else:
        for number, frame in enumerate(boxes):
            check_boxes(frame, f"{source}: {path.name}, frame {number}")


def _parse_box(text: str) -> np.ndarray:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise ValueError(f"--box {text}: expected X1,Y1,X2,Y2 with X1 < X2 and Y1 < Y2, in pixels")
    return check_boxes([box], f"--box {text}")


def _read_boxes(file: str) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(boxes, list) for boxes in content.values()):
        raise ValueError(f'--boxes {file}: expected an object like {{"a.jpg": [[x1, y1, x2, y2], ...], ...}}')
    return content


def _annotated_boxes(annotations: str) -> dict[str, Any]:
    by_name = defaultdict(list)
    for person in load_mpii(annotations, "."):
        by_name[str(person.image)].append(np.r_[person.center - person.size / 2, person.center + person.size / 2])
    return {name: np.array(boxes, np.float32) for name, boxes in by_name.items()}


def _of_paths(source: str, paths: list[Path], by_name: Mapping[str, Any]) -> dict[Path, Any]:
    by_parts = {_parts(name): boxes for name, boxes in by_name.items()}
    if len(by_parts) < len(by_name):
        raise ValueError(f"{source}: a picture has two names")
    ends = {path: _longest_end(_parts(os.path.abspath(path)), by_parts) for path in paths}
    missing = [str(path) for path, end in ends.items() if not end]
    if missing:
        raise ValueError(f"{source}: no boxes for {', '.join(missing[:5])}")
    return {path: by_parts[end] for path, end in ends.items()}


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file of a name, without "." and leading ".."."""
    parts = Path(os.path.normpath(name)).parts
    return tuple(part for part in parts if part != "..")


def _longest_end(parts: tuple[str, ...], known: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return next((parts[start:] for start in range(len(parts)) if parts[start:] in known), ())
