"""One annotated person: what every annotation reader returns and every data set is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hgfast.data.fields import AnnotationError, read_json

__all__ = ["AnnotationError", "Person", "read_json"]


@dataclass(frozen=True)
class Person:
    """A person in a picture.

    Attributes:
        image: path of the picture.
        center: (2,) float32, centre x, y of the person's box in 0-based pixels.
        size: (2,) float32, width and height of the box in pixels, before any padding.
        keypoints: (K, 2) float32 points in pixels.
        visible: (K,) float32, 1 where the point is labelled.
        head_size: length that PCKh is measured in, pixels; 0 where unknown (the person then does not count).
        area: area in square pixels for the OKS measure.
        ident: image and person number of the source, for results files.
        box_score: confidence of a detected box.
        category: number of the object's category in the source, for results files.
        extent: longer side of the labelled points' extent, in pixels, where the box is not the source's own; None where
            it is.
    """

    image: Path
    center: np.ndarray
    size: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    head_size: float = 0.0
    area: float = 0.0
    ident: tuple[int, int] = (0, 0)
    box_score: float = 1.0
    category: int = 1
    extent: float | None = None
