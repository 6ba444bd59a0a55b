"""A made-up set of keypoints nobody else has: beetles with five coloured points, as a COCO file."""

import json

import cv2
import numpy as np

NAMES = ["head", "left_wing", "right_wing", "belly", "tail"]
COLOURS = [(255, 255, 255), (0, 220, 0), (0, 0, 255), (255, 160, 0), (0, 255, 255)]
SIZE = (96, 72)  # width, height of a picture


def beetle(rng):
    """(5, 2) points and a picture."""
    middle, angle = rng.uniform((36, 30), (60, 42)), rng.uniform(-0.6, 0.6)
    shape = np.array([[0, -18], [-12, -4], [12, -4], [0, 6], [0, 20]]) * rng.uniform(0.8, 1.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = shape @ turn.T + middle
    picture = rng.integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for point, colour in zip(points, COLOURS, strict=True):
        cv2.circle(picture, tuple(int(v) for v in np.round(point)), 4, colour, cv2.FILLED)
    return points, picture


def write_beetles(folder, count, seed=0, name="beetles", **category):
    """Pictures and a COCO file with the entries of its only category; returns the file's path."""
    rng, images, annotations = np.random.default_rng(seed), [], []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        points, picture = beetle(rng)
        file = f"{name}_{number:03}.png"
        cv2.imwrite(str(folder / "images" / file), picture)
        images.append({"id": number, "file_name": file, "width": SIZE[0], "height": SIZE[1]})
        low, high = points.min(axis=0) - 5, points.max(axis=0) + 5
        box = [*low.tolist(), *(high - low).tolist()]
        triples = np.c_[points, np.full(5, 2)].ravel().tolist()
        annotations.append(
            {"id": number, "image_id": number, "category_id": 3, "bbox": box, "keypoints": triples, "area": 500.0}
        )
    entry = {"id": 3, "name": "beetle", "keypoints": NAMES, "skeleton": [[1, 4], [2, 4], [3, 4], [4, 5]]} | category
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [entry]}))
    return path
