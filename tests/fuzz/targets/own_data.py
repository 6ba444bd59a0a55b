"""Files of laboratories' tools, and what people write about keypoints of their own."""

from __future__ import annotations

import csv
import json
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hgfast.data import (
    KeypointSet,
    Person,
    coco_keypoints,
    deeplabcut_keypoints,
    load_deeplabcut,
    load_mpii_mat,
    load_sleap,
    sleap_keypoints,
)
from hgfast.data.deeplabcut_split import split_by_deeplabcut
from hgfast.data.label_h5 import read_h5
from hgfast.data.split import split_by_list
from hgfast.train.own import read_keypoints
from tests.fuzz.cases import Case, target
from tests.fuzz.damage import replaced
from tests.fuzz.draw import Draw
from tests.fuzz.targets.annotations import coco_content, file_case

NAMES = ("nose", "left_ear", "right_ear")
TABLE = KeypointSet("three", NAMES)


def _picture(folder: Path) -> None:
    cv2.imwrite(str(folder / "1.png"), np.zeros((8, 9, 3), np.uint8))


def _write_csv(content: Any, path: Path) -> None:
    rows = [row if isinstance(row, list) else [row] for row in content] if isinstance(content, list) else []
    with open(path, "w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows(rows)


def _deeplabcut_table() -> list[list[Any]]:
    columns = [(name, place) for name in NAMES for place in ("x", "y")]
    return [
        ["scorer", *["me"] * 6], ["bodyparts", *(name for name, _ in columns)], ["coords", *(c for _, c in columns)],
        ["1.png", 1.5, 2.5, 3.0, 4.0, "", ""],
    ]  # fmt: skip


@target("file.deeplabcut_csv", 80, "file")
def deeplabcut(draw: Draw) -> Case:
    _picture(draw.folder)
    read = lambda path: load_deeplabcut(path, draw.folder, TABLE)  # noqa: E731
    return file_case(draw, "t.csv", _deeplabcut_table(), read, _write_csv)


@target("file.deeplabcut_csv, its keypoints", 40, "file")
def deeplabcut_names(draw: Draw) -> Case:
    return file_case(draw, "t.csv", _deeplabcut_table(), deeplabcut_keypoints, _write_csv)


def _write_bytes(content: Any, path: Path) -> None:
    path.write_bytes(content if isinstance(content, bytes) else b"")


@cache
def _labels_h5() -> bytes:
    """pandas' form "fixed", as DeepLabCut writes it."""
    import h5py

    with h5py.File.in_memory() as file:
        group = file.create_group("df_with_missing")
        group.attrs.update({"pandas_type": np.bytes_("frame"), "nblocks": 1})
        group.attrs.update({"block0_items_variety": np.bytes_("multi"), "block0_items_nlevels": 3})
        group.attrs["axis1_variety"] = np.bytes_("regular")
        codes = ([0] * 6, [0, 0, 1, 1, 2, 2], [0, 1] * 3)
        for level, (texts, places) in enumerate(zip((["me"], NAMES, ["x", "y"]), codes, strict=True)):
            group[f"block0_items_level{level}"] = np.array(texts, "S")
            group[f"block0_items_label{level}"] = np.array(places, np.int8)
        group["axis1"], group["block0_values"] = np.array(["1.png", "2.png"], "S"), np.ones((2, 6))
        file.flush()
        return bytes(file.id.get_file_image())


@target("file.deeplabcut_h5", 60, "file", needs=[_labels_h5])
def labels_h5(draw: Draw) -> Case:
    return file_case(draw, "t.h5", _labels_h5(), read_h5, _write_bytes)


def _write_slp(content: Any, path: Path) -> None:
    import h5py

    points = np.ones(3, [("x", "f8"), ("y", "f8"), ("visible", "?")])
    names = ("video", "frame_idx", "instance_id_start", "instance_id_end")
    frames = np.array([(0, 5, 0, 1)], [(name, "i8") for name in names])
    fields = ("instance_type", "skeleton", "point_id_start", "point_id_end")
    with h5py.File(path, "w") as file:
        file.create_group("metadata").attrs["json"] = np.bytes_(json.dumps(content))
        file["metadata"].attrs["format_id"] = 1.4
        file["frames"], file["points"] = frames, points
        file["instances"] = np.array([(0, 0, 0, 3)], [(name, "i8") for name in fields])
        picture = cv2.imencode(".png", np.zeros((8, 9, 3), np.uint8))[1].ravel().view(np.int8)
        file["video0/video"], file["video0/frame_numbers"] = picture[None], [5]


@target("file.sleap", 80, "file")
def sleap(draw: Draw) -> Case:
    kind = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [1]}]}
    links = [{"source": 0, "target": 1, "type": kind}, {"source": 0, "target": 2, "type": {"py/id": 1}}]
    skeleton = {"graph": {"name": "x"}, "links": links, "nodes": [{"id": i} for i in range(3)]}
    content = {"nodes": [{"name": name} for name in NAMES], "skeletons": [skeleton]}
    return file_case(draw, "a.slp", content, lambda path: load_sleap(path, "", sleap_keypoints(path)), _write_slp)


@cache
def _release() -> bytes:
    import io

    from scipy.io import savemat

    points = np.empty((1, 2), [("x", object), ("y", object), ("id", object)])
    points[0] = [(3.0, 4.0, 8), (5.0, 6.0, 9)]
    box = {"x1": 1, "y1": 1, "x2": 2, "y2": 3}
    rect = {"annopoints": {"point": points}, "objpos": {"x": 5.0, "y": 6.0}, "scale": 1.5} | box
    file = io.BytesIO()
    savemat(file, {"RELEASE": {"annolist": {"image": {"name": "1.png"}, "annorect": rect}, "version": "1"}})
    return file.getvalue()


@target("file.mpii_release_mat", 60, "file", needs=[_release])
def release(draw: Draw) -> Case:
    return file_case(draw, "a.mat", _release(), lambda path: load_mpii_mat(path, draw.folder), _write_bytes)


@target("file.coco_categories", 60, "file")
def categories(draw: Draw) -> Case:
    entry = {"id": 1, "name": "mouse", "keypoints": list(NAMES), "skeleton": [[1, 2], [1, 3]], "sigmas": [0.1] * 3}
    return file_case(draw, "coco.json", coco_content() | {"categories": [entry]}, coco_keypoints)


@target("file.split_json", 40, "file")
def split(draw: Draw) -> Case:
    box = np.ones(2, np.float32)
    images = [draw.folder / name for name in ("1.png", "a/2.png", "b/2.png")]
    persons = [Person(image, box, box, np.ones((1, 2)), np.ones(1)) for image in images]
    content = {"train": ["1.png"], "val": [], "test": ["b/2.png"]}
    return file_case(draw, "split.json", content, lambda path: split_by_list(persons, path))


@target("data.keypoint_table", 80)
def keypoint_table(draw: Draw) -> Case:
    """A table with one odd place: refused by name, or a set of keypoints that is the same after a round trip."""
    table = {
        "name": "three", "names": list(NAMES), "pairs": [["left_ear", 2]], "skeleton": [[0, 1]], "sigmas": [0.1] * 3,
        "unit": ["nose", 1], "upper": [0],
    }  # fmt: skip
    content, place = replaced(table, draw)

    def check(found: KeypointSet) -> str | None:
        return None if KeypointSet.from_table(found.to_table()) == found else "differs after a round trip"

    spoiled = f"odd value at {'/'.join(map(str, place))[:60]}"
    return Case(lambda: KeypointSet.from_table(content), check, ("keypoints",), spoiled, either=True)


@target("file.keypoints_toml", 30, "file")
def keypoints_toml(draw: Draw) -> Case:
    text = b'names = ["a", "b"]\npairs = [["a", "b"]]\nsigmas = 0.1\n'
    return file_case(draw, "k.toml", text, read_keypoints, _write_bytes)


@cache
def _split_pickle() -> bytes:
    entries = [{"image": ("labeled-data", "a", "1.png"), "joints": np.zeros((1, 3))}]
    return pickle.dumps([entries, np.array([0, 2, -1]), np.array([1]), 0.7], pickle.HIGHEST_PROTOCOL)


@target("file.deeplabcut_split", 60, "file", needs=[_split_pickle])
def deeplabcut_split(draw: Draw) -> Case:
    names = [f"labeled-data/a/{number}.png" for number in range(1, 4)]
    rows = [["scorer", "me", "me"], ["bodyparts", "nose", "nose"], ["coords", "x", "y"]]
    _write_csv([*rows, *([name, 1.0, 2.0] for name in names)], draw.folder / "CollectedData_me.csv")
    point, visible = np.ones((1, 2), np.float32), np.ones(1, bool)
    size = np.ones(2, np.float32)
    persons = [Person(Path(name), size, size, point, visible, ident=(n, n)) for n, name in enumerate(names)]
    share = draw.one((0.0, 0.5))
    return file_case(
        draw, "split.pickle", _split_pickle(), lambda path: split_by_deeplabcut(persons, path, share, 0), _write_bytes
    )
