"""Random changes of a crop's colours, as princeton-vl/pytorch_stacked_hourglass trains with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgfast import _checks
from hgfast._opencv import cv2

_FAR = 1e6


@dataclass(frozen=True)
class Colour:
    """One drawn change of colours.

    Attributes:
        hue: fraction of the colour circle to be added, -0.2 to 0.2.
        saturation: factor, 0.5 to 1.5.
        brightness: added to red, green and blue of 0..1, -0.3 to 0.3.
        contrast: factor of each channel's distance from the mean of the pixel's three channels, 0.5 to 1.5. (The name
            is the peer's; it takes this mean and not the picture's.)

    Raises:
        TypeError, ValueError: something that is no number, or not finite.
    """

    hue: float = 0.0
    saturation: float = 1.0
    brightness: float = 0.0
    contrast: float = 1.0

    def __post_init__(self) -> None:
        for name in ("hue", "saturation", "brightness", "contrast"):
            _checks.number("", name, getattr(self, name), -_FAR, _FAR)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Colour:
        """Draw all four from uniform distributions; raises TypeError for what is no ``numpy.random.Generator``."""
        _checks.instance("", "rng", rng, np.random.Generator)
        hue, saturation, brightness, contrast = rng.uniform((-0.2, 0.5, -0.3, 0.5), (0.2, 1.5, 0.3, 1.5)).tolist()
        return cls(hue, saturation, brightness, contrast)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Change a copy of a picture, uint8 (H, W, 3), blue-green-red; raises TypeError or ValueError for others."""
        _checks.picture("", "image", image)
        values = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)  # degrees, 0..1, 0..1
        turn = 360 * (self.hue % 1)
        values = cv2.transform(values, np.array([[1, 0, 0, turn], [0, self.saturation, 0, 0], [0, 0, 1, 0]]))
        hues, saturations = values[..., 0], values[..., 1]
        hues[hues >= 360] -= 360
        np.minimum(saturations, 1, out=saturations)
        values = cv2.cvtColor(values, cv2.COLOR_HSV2BGR)
        mix = np.full((3, 4), (1 - self.contrast) / 3)
        mix[:, :3] += self.contrast * np.eye(3)
        mix[:, 3] = self.brightness
        values = cv2.transform(values, 255 * mix)
        return cv2.addWeighted(values, 1, values, 0, 0, dtype=cv2.CV_8U)  # rounds, and cuts off at 0 and 255
