"""Predictions as files: tables, JSON in the forms of MMPose and COCO, DeepLabCut's tables, MPII's MATLAB forms.

Pixels count from 0 everywhere but in MATLAB files, where they count from 1 as in MPII's annotations.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast._extras import require
from hgfast.data import Person, PoseDataset
from hgfast.data.keypoints import known_name
from hgfast.deeplabcut_results import check_deeplabcut_path, write_deeplabcut
from hgfast.files import atomic_write, check_writable, write_json, write_text
from hgfast.mmpose_results import mmpose_predictions
from hgfast.train.measures import coco_entries

__all__ = ["RESULT_SUFFIXES", "check_results_path", "instances", "write_results"]

RESULT_SUFFIXES = (".dlc.csv", ".csv", ".h5", ".coco.json", ".mmpose.json", ".json", ".mat")  # the longer one first


def instances(
    boxes: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, box_scores: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Describe the persons of a picture as MMPose's inferencers write them.

    Args:
        boxes: (P, 4) x1, y1, x2, y2.
        keypoints: (P, K, 2).
        scores: (P, K).
        box_scores: (P,) of a detector; None for boxes that are certain.

    Returns:
        for each person ``keypoints``, ``keypoint_scores``, ``bbox`` (a list of one box, as there) and ``bbox_score``.

    Raises:
        TypeError, ValueError: not numbers, or arrays of other shapes.
    """
    boxes = _checks.array("instances", "boxes", boxes, (None, 4))
    keypoints = _checks.array("instances", "keypoints", keypoints, (None, None, 2))
    scores = _checks.array("instances", "scores", scores, (None, None))
    _checks.shape("instances", "scores", scores, keypoints.shape[:2], "P and K of keypoints")
    _checks.shape("instances", "boxes", boxes, (len(keypoints), 4), "P of keypoints and scores")
    sure = np.ones(len(boxes)) if box_scores is None else box_scores
    sure = _checks.array("instances", "box_scores", sure, (len(boxes),))
    return [
        {
            "keypoints": points.astype(float).round(3).tolist(),
            "keypoint_scores": values.astype(float).round(6).tolist(),
            "bbox": [box.astype(float).round(3).tolist()],
            "bbox_score": round(float(value), 6),
        }
        for box, points, values, value in zip(boxes, keypoints, scores, sure, strict=True)
    ]


def write_results(
    path: str | Path,
    dataset: PoseDataset,
    keypoints: np.ndarray,
    scores: np.ndarray,
    metrics: Mapping[str, float],
    images: str | Path | None = None,
) -> None:
    """Predictions of a data set's persons, in its order, in the form that the file's name asks for.

    - ``.dlc.csv`` and ``.h5``: DeepLabCut's table, see :func:`hgfast.deeplabcut_results.write_deeplabcut`.
    - ``.mmpose.json``: what MMPose's demos save, a frame for each picture (with its name in ``image``).
    - ``.coco.json``: COCO's results file, whatever the keypoints.
    - ``.csv``: a row for each person: picture, number, then x, y and score of every joint.
    - ``.json``: COCO's results file for COCO's keypoints; otherwise one object with the measures, the joints' names and
      a list of persons (``image``, ``person``, and the fields of :func:`instances`).
    - ``.mat`` (MPII only, needs scipy): ``preds`` (N, 16, 2), as MMPose and HRNet write it and as evaluation scripts
      read it; and ``pred``, the structure of MPII's toolkit: ``pred(i).image.name``,
      ``pred(i).annorect(j).annopoints.point(k).x``, ``.y``, ``.id``, pictures in the order of their first person. (The
      toolkit wants them in the order of its own list: sort by ``image.name``.)

    A picture is called by its path from the folder of all pictures, parts joined by "/".

    Args:
        path: the file; replaced as a whole.
        dataset: whose persons were predicted.
        keypoints: (N, K, 2) in pixels of the pictures, the first pixel is 0.
        scores: (N, K).
        metrics: the measures, for JSON.
        images: the folder of all pictures; default: the deepest one that holds those of all persons.

    Raises:
        TypeError: a path, data set or array of another type.
        ValueError: another ending, arrays of other shapes, or ``.mat`` for other keypoints than MPII's.
        ImportError: scipy is not installed, or pandas and tables for ``.h5``.
        OSError: the file cannot be written.
    """
    where = "write_results"
    _checks.instance(where, "dataset", dataset, PoseDataset)
    check_results_path(path, known_name(dataset.table))
    path, shape = Path(path), (len(dataset), dataset.table.count)
    keypoints = _checks.array(where, "keypoints", keypoints, (*shape, 2))
    scores = _checks.array(where, "scores", scores, shape)
    _checks.instance(where, "metrics", metrics, Mapping)
    names = _names(dataset.persons, None if images is None else _checks.path(where, "images", images))
    suffix = _suffix(path)
    if suffix in (".dlc.csv", ".h5"):
        _write_deeplabcut(path, dataset, names, keypoints, scores)
    elif suffix == ".csv":
        write_text(path, _table(dataset, names, keypoints, scores))
    elif suffix == ".coco.json":
        write_json(path, coco_entries(dataset, keypoints, scores))
    elif suffix == ".mmpose.json":
        write_json(path, _mmpose(dataset, names, keypoints, scores))
    elif suffix == ".json":
        write_json(path, _json(dataset, names, keypoints, scores, metrics))
    else:
        _write_mat(path, dataset.persons, names, keypoints.astype(np.float64) + 1)


def check_results_path(path: str | Path, keypoint_set: str) -> None:
    """Whether :func:`write_results` can write such a file, to be asked before the work.

    Raises:
        TypeError: not a path.
        ValueError: a name that it does not take for such keypoints.
        ImportError: scipy is not installed, for ``.mat``, or pandas and tables for ``.h5``.
        OSError: nothing can be written there.
    """
    suffix = _suffix(_checks.path("", "path", path))
    _checks.instance("", "keypoint_set", keypoint_set, str)
    if not suffix:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(RESULT_SUFFIXES)}")
    if suffix == ".mat":
        if keypoint_set != "mpii":
            raise ValueError(f"{path}: MATLAB files are for MPII's keypoints, keypoint_set is {keypoint_set!r}")
        require("scipy.io", f"{path}: writing a .mat file")
    if suffix == ".h5":
        check_deeplabcut_path(path)
    check_writable(path)


def _suffix(path: Path) -> str:
    return next((suffix for suffix in RESULT_SUFFIXES if path.name.endswith(suffix)), "")


def _names(persons: list[Person], folder: Path | None) -> list[str]:
    """Name each person's picture: two of the same file name in two folders are not the same picture."""
    pictures = [os.path.abspath(person.image) for person in persons]
    if folder is None and persons:
        root = os.path.commonpath([os.path.dirname(picture) for picture in pictures])
    else:
        root = os.path.abspath(folder or "")
    return [Path(os.path.relpath(picture, root)).as_posix() for picture in pictures]


def _table(dataset: PoseDataset, names: list[str], keypoints: np.ndarray, scores: np.ndarray) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    columns = [f"{name}_{part}" for name in dataset.table.names for part in ("x", "y", "score")]
    writer.writerow(["image", "person", *columns])
    values = np.concatenate([keypoints, scores[..., None]], axis=2).reshape(len(dataset), -1)
    for name, person, row in zip(names, dataset.persons, values, strict=True):
        writer.writerow([name, person.ident[1], *(f"{value:.6g}" for value in row)])
    return text.getvalue()


def _write_deeplabcut(
    path: Path, dataset: PoseDataset, names: list[str], keypoints: np.ndarray, scores: np.ndarray
) -> None:
    """Write a row for each picture; the persons in it are its individuals, in the data set's order."""
    members: dict[str, list[int]] = {}
    for n, name in enumerate(names):
        members.setdefault(name, []).append(n)
    most = max(map(len, members.values()), default=1)
    points = np.full((len(members), most, dataset.table.count, 2), np.nan)
    values = np.full(points.shape[:3], np.nan)
    for row, persons in enumerate(members.values()):
        points[row, : len(persons)], values[row, : len(persons)] = keypoints[persons], scores[persons]
    write_deeplabcut(path, list(members), dataset.table.names, points, values)


def _json(
    dataset: PoseDataset,
    names: list[str],
    keypoints: np.ndarray,
    scores: np.ndarray,
    metrics: Mapping[str, float],
) -> Any:
    if known_name(dataset.table) == "coco":
        return coco_entries(dataset, keypoints, scores)
    found = zip(names, dataset.persons, _instances(dataset, keypoints, scores), strict=True)
    persons = [{"image": name, "person": person.ident[1]} | entry for name, person, entry in found]
    return {"metrics": dict(metrics), "keypoint_names": dataset.table.names, "persons": persons}


def _instances(dataset: PoseDataset, keypoints: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    boxes = [np.r_[p.center - p.size / 2, p.center + p.size / 2] for p in dataset.persons]
    return instances(np.reshape(boxes, (-1, 4)), keypoints, scores)


def _mmpose(dataset: PoseDataset, names: list[str], keypoints: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    frames: dict[str, list[dict[str, Any]]] = {}
    for name, entry in zip(names, _instances(dataset, keypoints, scores), strict=True):
        frames.setdefault(name, []).append(entry)
    return mmpose_predictions(
        dataset.table,
        [{"frame_id": n, "image": name, "instances": found} for n, (name, found) in enumerate(frames.items())],
    )


def _write_mat(path: Path, persons: list[Person], names: list[str], points: np.ndarray) -> None:
    by_image: dict[str, list[dict[str, Any]]] = {}
    for name, person, found in zip(names, persons, points, strict=True):
        text = name.encode(errors="backslashreplace").decode()  # see write_text
        by_image.setdefault(text, []).append(_rect(person, found))
    entries = [{"image": {"name": name}, "annorect": _struct_array(rects)} for name, rects in by_image.items()]
    content = {"preds": points} | ({"pred": _struct_array(entries)} if entries else {})
    with atomic_write(path) as file:
        require("scipy.io", "writing a .mat file").savemat(file, content, do_compression=True)


def _rect(person: Person, points: np.ndarray) -> dict[str, Any]:
    """Describe a person in the toolkit's form; ``objpos`` is the centre of the box, ``scale`` its height / 200."""
    joints = [{"x": float(x), "y": float(y), "id": float(k)} for k, (x, y) in enumerate(points)]
    centre = {"x": float(person.center[0]) + 1, "y": float(person.center[1]) + 1}
    return {"annopoints": {"point": _struct_array(joints)}, "objpos": centre, "scale": float(person.size[1]) / 200}


def _struct_array(entries: list[dict[str, Any]]) -> np.ndarray:
    """MATLAB's 1 x n structure array of dictionaries with the same fields."""
    array = np.empty((1, len(entries)), dtype=[(name, object) for name in entries[0]])
    for place, entry in enumerate(entries):
        array[0, place] = tuple(entry.values())
    return array
