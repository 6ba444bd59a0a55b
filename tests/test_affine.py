"""Affine maps against MMPose's numbers (tests/data/mmpose_affine.npz)."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from hgfast.codecs import affine


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "mmpose_affine.npz") as data:
        return dict(data)


@pytest.mark.parametrize("row", range(24))
def test_matrices_and_points(golden, row):
    center, size = (part[0] for part in affine.box_center_size(golden["bbox"][row], padding=1.25))
    np.testing.assert_allclose(np.r_[center, size], golden["cs"][row], rtol=1e-6, atol=1e-4)
    out, rotation = tuple(golden["size"][row]), golden["rot_f64"][row]
    fixed = affine.fix_aspect_ratio(size, out[0] / out[1])
    np.testing.assert_allclose(fixed, golden["fixed"][row], rtol=1e-6)
    matrix = affine.warp_matrix(center, fixed, rotation, out)
    np.testing.assert_allclose(matrix, golden["warp_f64"][row], atol=3e-4)
    np.testing.assert_allclose(affine.invert(matrix), golden["warp_inv_f64"][row], atol=3e-4)
    per_axis = affine.warp_matrix(center, size, rotation, out, keep_aspect=False)
    np.testing.assert_allclose(per_axis, golden["warp_nofix_f64"][row], rtol=1e-5, atol=3e-4)
    udp = affine.udp_warp_matrix(center, fixed, rotation, out)
    np.testing.assert_allclose(udp, golden["udp"][row], rtol=1e-5, atol=1e-4)
    points = golden["kpt"][row]
    np.testing.assert_allclose(affine.apply_affine(matrix, points), golden["kpt_warp"][row], atol=1e-3)
    np.testing.assert_allclose(affine.apply_affine(udp, points), golden["kpt_udp"][row], atol=1e-3)


def test_warped_pictures(golden):
    for expected, (x, y, w, h, rotation, use_udp, out_w, out_h) in zip(
        golden["warped"], golden["warped_param"], strict=True
    ):
        make = affine.udp_warp_matrix if use_udp else affine.warp_matrix
        size = affine.fix_aspect_ratio(np.array([w, h]), out_w / out_h)
        out = (int(out_w), int(out_h))
        warped = cv2.warpAffine(golden["img"], make((x, y), size, rotation, out), out, flags=cv2.INTER_LINEAR)
        difference = np.abs(warped.astype(int) - expected[: out[1], : out[0]])
        assert difference.max() <= 3 and (difference > 1).mean() < 0.005


def test_compose_flip_and_inverse():
    flip = affine.flip_matrix(640)
    matrix = affine.warp_matrix((100, 200), (250, 250), 30, (64, 64))
    points = np.array([[0.0, 0.0], [639.0, 10.0], [31.5, 99.0]])
    np.testing.assert_allclose(affine.apply_affine(flip, points)[:, 0], 639 - points[:, 0])
    both = affine.compose(matrix, flip)
    np.testing.assert_allclose(
        affine.apply_affine(both, points), affine.apply_affine(matrix, affine.apply_affine(flip, points)), atol=1e-9
    )
    np.testing.assert_allclose(
        affine.apply_affine(affine.invert(both), affine.apply_affine(both, points)), points, atol=1e-9
    )
