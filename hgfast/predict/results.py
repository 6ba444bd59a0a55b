"""What a predictor finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Prediction(NamedTuple):
    """Keypoints of the P persons of a picture.

    Attributes:
        keypoints: (P, K, 2) float32, x and y in pixels of the picture, the first pixel is 0.
        scores: (P, K) float32, the maxima of the heatmaps.
    """

    keypoints: np.ndarray
    scores: np.ndarray


class Seen(NamedTuple):
    """A picture and what was found in it.

    Attributes:
        image: uint8 (H, W, 3), blue-green-red.
        boxes: (P, 4) float32, x1, y1, x2, y2.
        prediction: keypoints and scores of these P persons.
    """

    image: np.ndarray
    boxes: np.ndarray
    prediction: Prediction


def joined(a: Prediction, b: Prediction) -> Prediction:
    """Join the persons of both."""
    return Prediction(*(np.concatenate(parts) for parts in zip(a, b, strict=True)))


def taken(found: Prediction, image: np.ndarray, boxes: np.ndarray) -> tuple[Prediction, Seen]:
    """Take the persons of a picture off; returns what is left, and that picture."""
    count = len(boxes)
    first, rest = Prediction(*(part[:count] for part in found)), Prediction(*(part[count:] for part in found))
    return rest, Seen(image, boxes, first)
