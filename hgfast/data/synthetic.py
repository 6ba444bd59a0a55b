"""A made-up data set in the MPII format: figures in front of textures. Every picture follows from the seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.data.figures import draw_pose, paint_figure
from hgfast.files import write_text

SIZE = (224, 208)  # width, height of the pictures


def draw_sample(seed: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw picture ``number`` of the set of that seed.

    Returns:
        image uint8 (H, W, 3) blue-green-red; joints (16, 2) in 0-based pixels; labelled (16,), False where the joint
        lies outside the picture. Joints behind an obstacle count as labelled, as in MPII.

    Raises:
        TypeError, ValueError: ``seed`` or ``number`` are no whole numbers from 0 on.
    """
    seed, number = _checks.integer("", "seed", seed, 0), _checks.integer("", "number", number, 0)
    rng = np.random.default_rng([seed, number])
    image = _background(rng)
    height = rng.uniform(0.5, 0.8) * SIZE[1]
    center = np.array(SIZE) * rng.uniform(0.33, 0.67, 2)
    figure = draw_pose(rng, center, height)
    paint_figure(image, figure, rng)
    if rng.random() < 0.35:
        _obstacle(image, figure.joints[rng.integers(16)], height, rng)
    image = np.clip(image + rng.normal(0, rng.uniform(0, 9), image.shape), 0, 255).astype(np.uint8)
    inside = (figure.joints >= 0) & (figure.joints <= np.array(SIZE) - 1)
    return image, figure.joints, np.all(inside, axis=1)


def write_set(
    folder: str | Path, count: int, seed: int, name: str, progress: Callable[[Any], Any] = iter
) -> tuple[Path, Path]:
    """Write ``count`` pictures and their annotations.

    Args:
        folder: gets ``<name>.json`` and ``images/<name>_<number>.jpg``.
        count: number of pictures, one figure each.
        seed: of the figures.
        name: for instance ``train``.
        progress: wraps the sequence of numbers, to show how far it is.

    Returns:
        path of the JSON file (written last, so it is there only when all pictures are) and of the picture folder.

    Raises:
        TypeError, ValueError: arguments of other types, negative numbers, a name with folders.
        OSError: the files cannot be written.
    """
    folder = _checks.path("", "folder", folder)
    count, seed = _checks.integer("", "count", count, 0, 10**9), _checks.integer("", "seed", seed, 0)
    if _checks.path("", "name", name).name != name:
        raise ValueError(f"name must be the beginning of a file's name, got {name!r}")
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in progress(range(count)):
        image, joints, labelled = draw_sample(seed, number)
        file = images / f"{name}_{number:05d}.jpg"
        if not cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, 92]):
            raise OSError(f"{file}: cannot write")
        entries.append(_entry(file.name, joints, labelled))
    path = folder / f"{name}.json"
    write_text(path, "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")
    return path, images


def _entry(file: str, joints: np.ndarray, labelled: np.ndarray) -> dict[str, Any]:
    """MPII's form: 1-based pixels, a centre that sits high, scale in units of 200 px."""
    low, high = joints.min(axis=0), joints.max(axis=0)
    scale = 1.1 * float((high - low).max()) / 200
    center = (low + high) / 2 + 1 - np.array([0, 15 * scale])
    points = np.where(labelled[:, None], joints + 1, -1)
    return {
        "image": file,
        "center": [round(float(c), 3) for c in center],
        "scale": round(scale, 6),
        "joints": [[round(float(x), 3), round(float(y), 3)] for x, y in points],
        "joints_vis": [int(v) for v in labelled],
        "head_size": round(0.75 * float(np.linalg.norm(joints[8] - joints[9])), 4),
    }


def _texture(rng: np.random.Generator, width: int, height: int, strength: float) -> np.ndarray:
    """Smooth random colours at three scales, float32 (height, width, 3) around 0."""
    total = np.zeros((height, width, 3), np.float32)
    for cells in (3, 9, 30):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        strength *= 0.55
    return total


def _background(rng: np.random.Generator) -> np.ndarray:
    width, height = SIZE
    image = rng.uniform(30, 225, 3).astype(np.float32) + _texture(rng, width, height, rng.uniform(8, 45))
    image = np.ascontiguousarray(np.clip(image, 0, 255))
    for _ in range(rng.integers(2, 9)):
        colour = tuple(rng.uniform(0, 255, 3))
        x, y = rng.uniform(0, SIZE).astype(int).tolist()
        w, h = (rng.uniform(0.04, 0.45, 2) * SIZE).astype(int).tolist()
        kind = rng.integers(3)
        if kind == 0:
            cv2.rectangle(image, (x, y), (x + w, y + h), colour, cv2.FILLED)
        elif kind == 1:
            cv2.ellipse(image, (x, y), (w // 2, h // 2), rng.uniform(0, 180), 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
        else:  # rods that look like limbs
            cv2.line(image, (x, y), (x + w - SIZE[0] // 4, y + h), colour, int(rng.integers(2, 10)), cv2.LINE_AA)
    return image


def _obstacle(image: np.ndarray, near: np.ndarray, height: float, rng: np.random.Generator) -> None:
    """Something textured in front of the figure, near one of its joints."""
    w, h = (rng.uniform(0.08, 0.26, 2) * height).astype(int) + 2
    x, y = (near + rng.normal(0, 0.05 * height, 2)).astype(int) - (w // 2, h // 2)
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, SIZE[0]), min(y + h, SIZE[1])
    if x2 > x1 and y2 > y1:
        image[y1:y2, x1:x2] = rng.uniform(20, 235, 3) + _texture(rng, x2 - x1, y2 - y1, 25)
