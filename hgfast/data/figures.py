"""Articulated figures with the 16 joints of MPII: poses, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgfast import _checks
from hgfast._opencv import cv2

_SHIFT = 4
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Figure:
    """Joints (16, 2) in pixels, the body's height in pixels, and whether the figure is seen from behind."""

    joints: np.ndarray
    height: float
    from_behind: bool


def _direction(degrees: float) -> np.ndarray:
    """Return a unit vector; 0 points down the picture, 90 to its right."""
    angle = np.deg2rad(degrees)
    return np.array([np.sin(angle), np.cos(angle)])


def draw_pose(rng: np.random.Generator, center: np.ndarray, height: float, behind_prob: float = 0.15) -> Figure:
    """Draw a random pose: proportions, lean, bend of every limb, and shortening where one points at the viewer.

    Args:
        rng: source of all that is random.
        center: (2,) middle of the figure in pixels.
        height: of the body, pixels.
        behind_prob: probability of a figure seen from behind.

    Raises:
        TypeError, ValueError: arguments of other types or shapes, or not finite.
    """
    _checks.instance("", "rng", rng, np.random.Generator)
    center = _checks.array("", "center", center, (2,), finite=True)
    height = _checks.number("", "height", height, above=0)
    behind_prob = _checks.number("", "behind_prob", behind_prob, 0, 1)
    shape = rng.uniform(0.88, 1.12, 8)
    head, neck, torso, arm, forearm, thigh, shin, width = height * shape * (
        0.145, 0.045, 0.29, 0.165, 0.15, 0.235, 0.225, 0.105,
    )  # fmt: skip
    lean = float(rng.normal(0, 16) if rng.random() < 0.9 else rng.uniform(-95, 95))
    joints = np.zeros((16, 2))
    up, across = -_direction(lean), _direction(lean + 90)
    joints[7] = joints[6] + up * torso
    joints[8] = joints[7] + up * neck
    tilt = _direction(lean + rng.normal(0, 14))
    joints[9] = joints[8] - tilt * head
    from_behind = bool(rng.random() < behind_prob)
    for side in (-1, 1):  # -1: the left of the picture, which is the person's right when seen from the front
        right = (side < 0) != from_behind
        shoulder, elbow, wrist = (12, 11, 10) if right else (13, 14, 15)
        hip, knee, ankle = (2, 1, 0) if right else (3, 4, 5)
        joints[shoulder] = joints[7] + across * side * width + up * rng.normal(0, 0.012) * height
        joints[hip] = joints[6] + across * side * width * 0.62
        raised = np.clip(rng.normal(38, 48), -25, 172)
        bend = rng.uniform(-15, 140) * (1 if rng.random() < 0.8 else -1)
        shorten = np.minimum(1, rng.normal(0.95, 0.12, 4).clip(0.55))
        joints[elbow] = joints[shoulder] + _direction(lean + side * raised) * arm * shorten[0]
        joints[wrist] = joints[elbow] + _direction(lean + side * (raised + bend)) * forearm * shorten[1]
        spread = np.clip(rng.normal(12, 20), -18, 85)
        fold = rng.normal(-8, 26) - 0.4 * max(spread - 20, 0)
        joints[knee] = joints[hip] + _direction(lean + side * spread) * thigh * shorten[2]
        joints[ankle] = joints[knee] + _direction(lean + side * (spread + fold)) * shin * shorten[3]
    middle = (joints.min(axis=0) + joints.max(axis=0)) / 2
    return Figure(joints + center - middle, height, from_behind)


def paint_figure(canvas: np.ndarray, figure: Figure, rng: np.random.Generator) -> None:
    """Draws a clothed figure onto a picture: legs, torso, head, arms, some arms behind the body.

    Args:
        canvas: uint8 or float32 (H, W, 3), blue-green-red of 0..255; changed.
        figure: of :func:`draw_pose`.
        rng: source of colours and proportions.

    Raises:
        TypeError, ValueError: arguments of other types or shapes.
    """
    _checks.instance("", "figure", figure, Figure)
    _checks.instance("", "rng", rng, np.random.Generator)
    if not isinstance(canvas, np.ndarray) or canvas.dtype not in (np.uint8, np.float32):
        raise TypeError(f"canvas must be a uint8 or float32 array (H, W, 3), got {_checks.describe(canvas)}")
    if canvas.ndim != 3 or canvas.shape[2] != 3 or 0 in canvas.shape:
        raise ValueError(f"canvas must have shape (H, W, 3), got {canvas.shape}")
    skin = _vary(rng, [(150, 185, 230), (105, 145, 200), (70, 100, 150), (45, 65, 100)][rng.integers(4)], 18)
    shirt, trousers, shoes, hair = (tuple(rng.uniform(20, 240, 3)) for _ in range(4))
    sleeve = shirt if rng.random() < 0.5 else skin
    leg = trousers if rng.random() < 0.7 else skin
    j, unit = figure.joints, figure.height * rng.uniform(0.9, 1.15)
    arms = [(12, 11, 10), (13, 14, 15)]
    behind = [rng.random() < 0.25 for _ in arms]
    for arm, hidden in zip(arms, behind, strict=True):
        if hidden:
            _arm(canvas, j, arm, unit, shirt, sleeve, skin)
    for hip, knee, ankle in ((2, 1, 0), (3, 4, 5)):
        _limb(canvas, j[knee], j[ankle], 0.036 * unit, 0.024 * unit, leg)
        _limb(canvas, j[hip], j[knee], 0.048 * unit, 0.036 * unit, trousers)
        cv2.circle(canvas, _fixed(j[ankle]), _radius(0.034 * unit), shoes, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    _limb(canvas, j[8], j[7], 0.030 * unit, 0.030 * unit, skin)
    _torso(canvas, j, unit, shirt, trousers)
    _head(canvas, figure, unit, skin, hair)
    for arm, hidden in zip(arms, behind, strict=True):
        if not hidden:
            _arm(canvas, j, arm, unit, shirt, sleeve, skin)


def _arm(
    canvas: np.ndarray,
    j: np.ndarray,
    arm: tuple[int, int, int],
    unit: float,
    upper: Colour,
    lower: Colour,
    skin: Colour,
) -> None:
    shoulder, elbow, wrist = (j[k] for k in arm)
    _limb(canvas, elbow, wrist, 0.026 * unit, 0.019 * unit, lower)
    _limb(canvas, shoulder, elbow, 0.035 * unit, 0.027 * unit, upper)
    cv2.circle(canvas, _fixed(wrist), _radius(0.025 * unit), skin, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _torso(canvas: np.ndarray, j: np.ndarray, unit: float, shirt: Colour, trousers: Colour) -> None:
    for points, thickness, colour in ((j[[2, 3]], 0.09, trousers), (j[[12, 13, 3, 2]], 0.05, shirt)):
        polygon = np.round(points * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(canvas, [polygon], colour, cv2.LINE_AA, _SHIFT)
        cv2.polylines(canvas, [polygon], True, colour, max(1, round(thickness * unit)), cv2.LINE_AA, _SHIFT)


def _head(canvas: np.ndarray, figure: Figure, unit: float, skin: Colour, hair: Colour) -> None:
    neck, top = figure.joints[8], figure.joints[9]
    length = float(np.linalg.norm(top - neck))
    along = (neck - top) / length
    across = np.array([along[1], -along[0]])
    middle, angle = (neck + top) / 2, float(np.degrees(np.arctan2(along[1], along[0])))
    axes = (_radius(0.52 * length), _radius(0.38 * length))
    cv2.ellipse(canvas, _fixed(middle), axes, angle, 0, 360, hair, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    if figure.from_behind:
        return
    face = middle + along * 0.10 * length
    axes = (_radius(0.40 * length), _radius(0.32 * length))
    cv2.ellipse(canvas, _fixed(face), axes, angle, 0, 360, skin, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    for side in (-1, 1):
        eye = face - along * 0.06 * length + across * side * 0.14 * length
        cv2.circle(canvas, _fixed(eye), _radius(0.055 * length), (25, 25, 25), cv2.FILLED, cv2.LINE_AA, _SHIFT)
    mouth = [_fixed(face + along * 0.2 * length + across * side * 0.12 * length) for side in (-1, 1)]
    cv2.line(canvas, mouth[0], mouth[1], (60, 40, 140), max(1, round(0.012 * unit)), cv2.LINE_AA, _SHIFT)


def _limb(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, wide: float, narrow: float, colour: Colour) -> None:
    """Draw a tapered rod with round ends of radius ``wide`` and ``narrow``, a little darker on one side."""
    axis = b - a
    normal = np.array([-axis[1], axis[0]]) / max(float(np.linalg.norm(axis)), 1e-6)
    shade = tuple(0.8 * c for c in colour)
    for offset, tint in ((0.0, shade), (-0.25, colour)):
        w, n = (wide, narrow) if offset == 0 else (0.72 * wide, 0.72 * narrow)
        p, q = a + normal * offset * wide, b + normal * offset * narrow
        outline = np.array([p + normal * w, q + normal * n, q - normal * n, p - normal * w])
        cv2.fillPoly(canvas, [np.round(outline * 2**_SHIFT).astype(np.int32)], tint, cv2.LINE_AA, _SHIFT)
        for point, radius in ((p, w), (q, n)):
            cv2.circle(canvas, _fixed(point), _radius(radius), tint, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _vary(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    return tuple(np.clip(np.array(colour) + rng.uniform(-amount, amount, 3), 0, 255))


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.round(point * 2**_SHIFT).astype(int)
    return int(x), int(y)


def _radius(pixels: float) -> int:
    return max(1, round(pixels * 2**_SHIFT))
