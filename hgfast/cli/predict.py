"""``hgfast predict``."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hgfast.cli._shared import add_checkpoint, add_device, add_set, changed, load_network
from hgfast.data import load_mpii, read_image
from hgfast.files import atomic_write, write_text
from hgfast.predict import Prediction
from hgfast.train.build import choose_device, make_codec, make_predictor
from hgfast.viz import draw_people

_EPILOG = """\
The output folder gets <picture>_keypoints.png for every picture, and keypoints.json: for each picture and person the
box, the keypoints (x, y in pixels, counted from 0) and their scores.

examples:
  hgfast predict best.pt person.jpg                       one person who fills the picture
  hgfast predict best.pt street.jpg --box 40,60,300,420 --box 310,55,500,400
  hgfast predict best.pt images/*.jpg --annotations mpii_val.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = _EPILOG
    add_checkpoint(parser)
    parser.add_argument("images", nargs="+", help="pictures")
    parser.add_argument("--box", action="append", metavar="X1,Y1,X2,Y2", help="a person's box, for a single picture")
    parser.add_argument("--annotations", help="MPII JSON file with the persons' centres and scales")
    parser.add_argument("--output", default="hgfast-predictions", help="folder (default: %(default)s)")
    parser.add_argument("--min-score", type=float, default=0.2, help="do not draw joints below (default: %(default)s)")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirrored picture")
    add_set(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Predicts, draws and writes."""
    paths = [Path(name) for name in options.images]
    boxes = _boxes(options, paths)
    config, model, _ = load_network(options.checkpoint, options.preset)
    if options.no_flip:
        options.set.append("flip_test=false")
    config = changed(config, options)
    predictor = make_predictor(config, model, make_codec(config), choose_device(config.device))
    results = predictor(paths, boxes)
    output = Path(options.output)
    records = []
    for path, result, persons in zip(paths, results, boxes, strict=True):
        drawn = draw_people(read_image(path), result.keypoints, predictor.table, result.scores, options.min_score)
        _write_png(output / f"{path.stem}_keypoints.png", drawn)
        records.append({"image": str(path), "persons": _records(persons, result)})
    write_text(output / "keypoints.json", json.dumps({"names": predictor.table.names, "images": records}) + "\n")
    count = sum(len(record["persons"]) for record in records)
    print(f"{count} persons in {len(paths)} pictures: {output / 'keypoints.json'} and *_keypoints.png beside it")


def _boxes(options: argparse.Namespace, paths: list[Path]) -> list[np.ndarray]:
    if options.box and options.annotations:
        raise ValueError("--box and --annotations: give one of the two")
    if options.box:
        if len(paths) != 1:
            raise ValueError(f"--box: expected a single picture, got {len(paths)}")
        return [np.array([_parse_box(text) for text in options.box], np.float32)]
    if options.annotations:
        return _annotated_boxes(options.annotations, paths)
    sizes = [read_image(path).shape for path in paths]
    return [np.array([[0, 0, shape[1], shape[0]]], np.float32) for shape in sizes]


def _parse_box(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"--box {text}: expected X1,Y1,X2,Y2 with X1 < X2 and Y1 < Y2, in pixels")
    return box


def _annotated_boxes(annotations: str, paths: list[Path]) -> list[np.ndarray]:
    by_name = defaultdict(list)
    for person in load_mpii(annotations, "."):
        by_name[person.image.name].append(np.r_[person.center - person.size / 2, person.center + person.size / 2])
    missing = [path.name for path in paths if path.name not in by_name]
    if missing:
        raise ValueError(f"{annotations}: no person annotated in {', '.join(missing)}")
    return [np.array(by_name[path.name], np.float32) for path in paths]


def _write_png(path: Path, image: np.ndarray) -> None:
    with atomic_write(path) as file:
        file.write(cv2.imencode(".png", image)[1].tobytes())


def _records(boxes: np.ndarray, result: Prediction) -> list[dict[str, Any]]:
    return [
        {"box": box.tolist(), "keypoints": points.round(3).tolist(), "scores": scores.round(5).tolist()}
        for box, points, scores in zip(boxes, result.keypoints, result.scores, strict=True)
    ]
