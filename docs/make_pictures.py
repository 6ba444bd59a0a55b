"""Make the pictures of docs/gallery.md from generated data; run with PYTHONPATH=. in the checkout.

With the folder of `hgfast demo` as its argument, what its network has found is one of them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from hgfast.data import MPII, KeypointSet, PoseDataset, coco_keypoints, load_coco, load_mpii, read_image
from hgfast.data.augment import Augmentation
from hgfast.data.synthetic import write_set
from hgfast.viz import draw_people, grid
from tests.own_data import write_beetles

PICTURES = Path(__file__).parent / "pictures"
CELL, COLUMNS = 200, 4
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 85]


def draw(dataset: PoseDataset, table: KeypointSet, numbers: range) -> list[np.ndarray]:
    """Whole pictures with their labelled points."""
    drawn = []
    for number in numbers:
        person = dataset.persons[number]
        points = np.where(person.visible[:, None], person.keypoints, np.nan)[None]
        drawn.append(draw_people(read_image(person.image), points, table))
    return drawn


def augmented(dataset: PoseDataset, count: int) -> list[np.ndarray]:
    """Return the first sample in several epochs."""
    return [dataset[(epoch, 0)]["image"] for epoch in range(count)]


def save(name: str, images: list[np.ndarray]) -> None:
    """Draw a sheet of pictures."""
    cv2.imwrite(str(PICTURES / name), grid(images, COLUMNS, CELL), QUALITY)


def main() -> None:
    """Draw and save."""
    PICTURES.mkdir(exist_ok=True)
    settings = Augmentation(scale=0.25, rotation=30.0)
    with tempfile.TemporaryDirectory() as place:
        annotations, images = write_set(place, 8, 2, "figures")
        figures = load_mpii(annotations, images)
        save("figures.jpg", draw(PoseDataset(figures, MPII, (128, 128)), MPII, range(8)))
        save("augmented.jpg", augmented(PoseDataset(figures, MPII, (128, 128), augment=settings), 8))
    with tempfile.TemporaryDirectory() as place:
        annotations = write_beetles(Path(place), 8)
        table = coco_keypoints(annotations)
        beetles = load_coco(annotations, Path(place) / "images", table)
        save("beetles.jpg", draw(PoseDataset(beetles, table, (96, 72)), table, range(8)))
    for folder in sys.argv[1:]:
        found = cv2.imread(str(Path(folder) / "overlay.png"))
        cv2.imwrite(str(PICTURES / "found.jpg"), found[: len(found) // 2], QUALITY)


if __name__ == "__main__":
    main()
