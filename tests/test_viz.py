"""Drawings: what is drawn where, and what is left out."""

import numpy as np
import pytest

from hgfast.data import KEYPOINT_SETS, MPII
from hgfast.viz import draw_people, grid, joint_colours, write_label


def test_limbs_have_their_sides_colours():
    image = np.zeros((200, 200, 3), np.uint8)
    points = np.full((1, 16, 2), np.nan)
    points[0, 13:16] = [[20, 30], [20, 100], [20, 170]]  # left arm
    points[0, 10:13] = [[150, 170], [150, 100], [150, 30]]  # right arm
    drawn = draw_people(image, points, MPII)
    left, right = drawn[60, 20].astype(int), drawn[60, 150].astype(int)
    assert left[1] == left.max() > left[2] + 80  # green beats red on the left
    assert right[2] == right.max() > right[0] + 80  # red beats blue on the right
    assert not drawn[:, 60:120].any() and not image.any()  # nothing elsewhere, and the input stays as it was


def test_low_scores_boxes_and_far_points():
    image = np.zeros((100, 100, 3), np.uint8)
    points = np.tile(np.linspace(10, 90, 16)[:, None], (1, 2))[None]
    assert not draw_people(image, points, MPII, scores=np.zeros((1, 16)), min_score=0.1).any()
    assert draw_people(image, points, MPII, scores=np.ones((1, 16)), min_score=0.1).any()
    boxed = draw_people(image, points[:0], MPII, boxes=np.array([[10, 20, 50, 60]]))
    assert boxed[20, 30].min() > 200 and boxed[40, 30].max() == 0
    draw_people(image, points * 1e9, MPII)  # must neither overflow nor raise


@pytest.mark.parametrize("table", KEYPOINT_SETS.values(), ids=KEYPOINT_SETS)
def test_every_table_has_distinct_colours(table):
    colours = joint_colours(table)
    assert colours.shape == (table.count, 3) and len({tuple(c) for c in colours.round(3)}) == table.count


def test_grid_and_label():
    sheet = grid(
        [np.full((50, 100, 3), 255, np.uint8), np.full((100, 50, 3), 255, np.uint8)], columns=2, cell=64, gap=2
    )
    assert sheet.shape == (68, 134, 3)
    assert (sheet == 255).all(axis=2).sum() == 2 * 64 * 32
    assert write_label(sheet, "x").any() and write_label(sheet, "x").shape == sheet.shape


IMAGE, POINTS = np.zeros((40, 50, 3), np.uint8), np.full((1, 16, 2), 9.0)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("image", lambda: draw_people(IMAGE[..., 0], POINTS, MPII)),
        ("image", lambda: draw_people(IMAGE.astype(float), POINTS, MPII)),
        ("image", lambda: draw_people([[1]], POINTS, MPII)),
        ("keypoints", lambda: draw_people(IMAGE, POINTS[0], MPII)),
        ("keypoints", lambda: draw_people(IMAGE, "points", MPII)),
        ("keypoints", lambda: draw_people(IMAGE, [[1], [2, 3]], MPII)),
        ("keypoints", lambda: draw_people(IMAGE, POINTS + 1j, MPII)),
        ("table", lambda: draw_people(IMAGE, POINTS, "mpii")),
        ("scores", lambda: draw_people(IMAGE, POINTS, MPII, np.zeros((1, 17)))),
        ("min_score", lambda: draw_people(IMAGE, POINTS, MPII, np.zeros((1, 16)), float("nan"))),
        ("min_score", lambda: draw_people(IMAGE, POINTS, MPII, np.zeros((1, 16)), "0.2")),
        ("boxes", lambda: draw_people(IMAGE, POINTS, MPII, boxes=[1, 2, 3, 4])),
        ("boxes", lambda: draw_people(IMAGE, POINTS, MPII, boxes=[{"bbox": 3}])),
        ("table", lambda: joint_colours(None)),
        ("image", lambda: write_label(None, "x")),
        ("text", lambda: write_label(IMAGE, 3)),
        ("images", lambda: grid(3, 2)),
        (r"images\[1\]", lambda: grid([IMAGE, IMAGE[:0]], 2)),
        ("columns", lambda: grid([IMAGE], 0)),
        ("columns", lambda: grid([IMAGE], 2.0)),
        ("cell", lambda: grid([IMAGE], 1, 0)),
        ("gap", lambda: grid([IMAGE], 1, 8, -1)),
        ("columns, cell and gap", lambda: grid([IMAGE], 1, 10**6)),
    ],
)
def test_bad_arguments_are_named(name, call):
    with pytest.raises((TypeError, ValueError), match=f": {name} must"):
        call()


def test_points_and_boxes_out_of_all_bounds():
    points = np.tile(np.linspace(10, 30, 16)[:, None], (1, 2))[None]
    for far in (1e9, 1e300, -1e300):
        draw_people(IMAGE, points * far, MPII, boxes=[[-far, -far, far, far], [np.nan, 0, 1, 1], [0, 0, np.inf, 9]])
    points[0, 3] = np.inf
    drawn = draw_people(IMAGE, points, MPII)
    np.testing.assert_array_equal(drawn, draw_people(IMAGE, np.where(np.isinf(points), np.nan, points), MPII))


def test_labels_and_grids_of_odd_inputs():
    assert write_label(IMAGE, "b\udcfc\0\nü").any()
    strip = np.full((1, 5000, 3), 255, np.uint8)
    assert (grid([strip], 1, cell=64, gap=0) == 255).all() and grid([], 2).shape == (4, 524, 3)
