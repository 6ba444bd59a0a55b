"""Labels of SLEAP: ``.slp`` files with the labelled frames inside (packages), or with a list of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hgfast import _checks
from hgfast._extras import require
from hgfast.data.fields import AnnotationError
from hgfast.data.frames import Frame, persons_of
from hgfast.data.hdf5 import check_strings
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.person import Person
from hgfast.data.sides import pairs_by_name
from hgfast.files import atomic_write

_BY_PEOPLE = 0  # type of instances that somebody labelled; 1 are predictions
_TABLES = {
    "frames": ("video", "frame_idx", "instance_id_start", "instance_id_end"),
    "instances": ("instance_type", "skeleton", "point_id_start", "point_id_end"),
    "points": ("x", "y", "visible"),
}
_CORNER_ORIGIN = 1.1  # files of older forms count from the picture's corner, not from the first pixel's middle
_ORDER_KNOWN = 1.4  # files of older forms do not say it: their pictures have red and blue exchanged
_DAMAGE = (
    AttributeError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    IndexError,
)  # what h5py raises where it reads on
_SYMMETRY = 2  # type of a link that joins left and right; 1 is a limb


def load_sleap(
    annotations: str | Path, images: str | Path, table: KeypointSet, boxes: str = "picture", outside: str = "error"
) -> list[Person]:
    """Individuals that people have labelled in a SLEAP file (needs h5py).

    Args:
        annotations: a package (``.pkg.slp``), whose frames are written into a folder once, or a file over pictures.
        images: that folder; "" for one beside the file, called as it with ``.frames`` behind.
        table: the keypoints to be read, each a node of the skeleton.
        boxes: "picture" or "keypoints", see :func:`hgfast.data.frames.persons_of`.
        outside: what becomes of points outside of their picture: "error", "hide" or "keep".

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: no such file of SLEAP, a damaged one, one over videos, a keypoint that is no node, and whatever
            :func:`hgfast.data.frames.persons_of` finds.
        OSError: the frames cannot be written.
        ImportError: h5py is not installed.
    """
    _checks.instance("", "table", table, KeypointSet)
    path = _checks.path("", "annotations", annotations)
    folder = path.with_name(path.name + ".frames") if str(images) == "" else Path(images)
    with _Content(path) as content:
        missing = [name for name in table.names if name not in content.keypoints.names]
        if missing:
            raise AnnotationError(f"{path}: the skeleton has no node {missing[0]!r}")
        order = [content.keypoints.names.index(name) for name in table.names]
        return persons_of(content.frames(folder, order), table.names, boxes, outside)


def sleap_keypoints(annotations: str | Path) -> KeypointSet:
    """Nodes, edges and symmetries of a SLEAP file's skeleton; without symmetries mirror pairs are found by the names.

    Raises:
        FileNotFoundError, AnnotationError, ImportError: as :func:`load_sleap`.
    """
    with _Content(_checks.path("", "annotations", annotations)) as content:
        return content.keypoints


class _Content:
    """An open file; what h5py raises of a damaged one becomes an AnnotationError."""

    def __init__(self, path: Path) -> None:
        h5py = require("h5py", f"{path}: reading a SLEAP file")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: annotation file not found")
        self.path = path
        try:
            self.file = h5py.File(path, "r")
        except OSError as error:
            raise AnnotationError(f"{path}: not a file of SLEAP ({error})") from None
        try:
            attributes = self.file["metadata"].attrs
            metadata = json.loads(attributes["json"])
            form = float(attributes.get("format_id", 1.0))
            self.origin = 0.5 if form < _CORNER_ORIGIN else 0.0
            self.channels = "BGR" if form < _ORDER_KNOWN else "RGB"
            self.keypoints = _skeleton(metadata)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            self.file.close()
            raise AnnotationError(f"{path}: field 'metadata' does not describe a skeleton ({error})") from None

    def __enter__(self) -> _Content:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.file.close()
        if isinstance(error, _DAMAGE) and not isinstance(error, AnnotationError):
            raise AnnotationError(f"{self.path}: a damaged file ({error})") from None

    def frames(self, folder: Path, order: list[int]) -> Iterator[Frame]:
        """Yield all individuals with the points in this order; frames of packages are written into the folder."""
        frames, instances, points = (self._table(name) for name in _TABLES)
        count = len(self.keypoints.names)
        for n, frame in enumerate(frames):
            where = f"{self.path}: frames[{n}]"
            first, last = (int(frame[name]) for name in ("instance_id_start", "instance_id_end"))
            if not 0 <= first <= last <= len(instances):
                raise AnnotationError(f"{where}: field 'instance_id_end' is beyond the {len(instances)} instances")
            labelled = [i for i in range(first, last) if instances[i]["instance_type"] == _BY_PEOPLE]
            for i in labelled:
                start = int(instances[i]["point_id_start"])
                if instances[i]["point_id_end"] != start + count or start + count > len(points):
                    raise AnnotationError(f"{where}: instances[{i}] has not the {count} points of the skeleton")
                part = points[start : start + count]
                xy = np.stack([part["x"], part["y"]], axis=1).astype(np.float64) - self.origin
                xy[~part["visible"].astype(bool)] = np.nan
                xy[np.isnan(xy).any(axis=1)] = np.nan
                image = self._picture(int(frame["video"]), int(frame["frame_idx"]), folder, where)
                yield Frame(where, image, xy[order], str(i - first))

    def _table(self, name: str) -> np.ndarray:
        data = self.file.get(name)
        fields = getattr(getattr(data, "dtype", None), "names", None) or ()
        missing = [field for field in _TABLES[name] if field not in fields]
        if getattr(data, "shape", None) is None or missing:  # a type of such rows, not a table, has the fields too
            raise AnnotationError(f"{self.path}: table {name!r} is missing, or lacks {', '.join(missing)}")
        if data.nbytes > 2000 * self.path.stat().st_size:  # packed by more than gzip can
            raise AnnotationError(f"{self.path}: table {name!r} is larger than such a file can hold")
        return np.asarray(data)

    def _picture(self, video: int, index: int, folder: Path, where: str) -> Path:
        """Return the path of a frame's picture."""
        group = self.file.get(f"video{video}")
        if group is None or "video" not in group or "frame_numbers" not in group:
            return self._listed(video, index, where)
        places = np.flatnonzero(np.asarray(group["frame_numbers"]) == index)
        if len(places) != 1:
            raise AnnotationError(f"{where}: video{video} does not hold the picture of frame {index}")
        check_strings(group["video"])
        data = np.asarray(group["video"][int(places[0])]).view(np.uint8)
        if data.ndim != 1:
            raise AnnotationError(f"{where}: video{video} holds no pictures that are packed as PNG or JPEG")
        path = folder / f"video{video}_{index:06}.png"
        if not path.is_file():
            _write_picture(path, data, group["video"].attrs.get("channel_order", self.channels), where)
        return path

    def _listed(self, video: int, index: int, where: str) -> Path:
        """Return a picture of a video that is a list of pictures."""
        try:
            check_strings(self.file["videos_json"])
            names = json.loads(self.file["videos_json"][video])["filename"]
        except (KeyError, TypeError, ValueError, IndexError):
            raise AnnotationError(f"{where}: field 'videos_json' does not describe video {video}") from None
        if not isinstance(names, list):
            raise AnnotationError(
                f"{where}: the picture is a frame of {names!r:.200}, not in this file; "
                "let SLEAP export a labels package (.pkg.slp), which holds the labelled frames"
            )
        if not 0 <= index < len(names) or not isinstance(names[index], str):
            raise AnnotationError(f"{where}: video {video} has no picture of number {index}")
        return self.path.parent / names[index]


def _write_picture(path: Path, data: np.ndarray, channels: Any, where: str) -> None:
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise AnnotationError(f"{where}: the picture in the file is damaged")
    if image.ndim == 3 and channels in ("BGR", b"BGR"):  # it was packed with red and blue exchanged
        image = image[..., ::-1]
    with atomic_write(path) as file:
        file.write(cv2.imencode(".png", image)[1].tobytes())


def _skeleton(metadata: dict[str, Any]) -> KeypointSet:
    """Return the only skeleton's keypoints; raises ValueError for several, or what a broken structure brings."""
    every = [node["name"] for node in metadata["nodes"]]
    skeletons = metadata["skeletons"]
    if len(skeletons) != 1:
        raise ValueError(f"expected one skeleton, got {len(skeletons)}")
    skeleton = skeletons[0]
    nodes = [node["id"] for node in skeleton["nodes"]]
    names = [every[node] for node in nodes]
    kinds: list[int] = []  # jsonpickle: an object stands in full where it comes first, later by its number from 1
    limbs, pairs = [], set()
    for link in skeleton["links"]:
        if "py/reduce" in link["type"]:
            kinds.append(link["type"]["py/reduce"][1]["py/tuple"][0])
            kind = kinds[-1]
        else:
            kind = kinds[link["type"]["py/id"] - 1]
        ends = [nodes.index(link[end]) for end in ("source", "target")]
        if kind == _SYMMETRY:
            pairs.add((min(ends), max(ends)))
        else:
            limbs.append((ends[0], ends[1]))
    return KeypointSet(
        name=skeleton.get("graph", {}).get("name") or "skeleton",
        names=tuple(names),
        pairs=tuple(sorted(pairs)) or pairs_by_name(names),
        skeleton=tuple(limbs),
    )
