"""Affine maps against MMPose's numbers (tests/data/mmpose_affine.npz)."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hgfast.codecs import affine, affine_torch
from hgfast.data.keypoints import MPII


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


def test_mirrored_picture(golden):
    """MMPose's flip_keypoints and flip_bbox in a picture 640 pixels wide."""
    flip = affine.flip_matrix(640)
    pairs = list(MPII.flip_indices)
    points = affine.apply_affine(flip, golden["flip_kpt"])[pairs]
    np.testing.assert_allclose(points, golden["flip_kpt_out"], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(golden["flip_vis"][pairs], golden["flip_vis_out"])
    left, right = affine.apply_affine(flip, golden["flip_box"].reshape(2, 2))[::-1]
    np.testing.assert_array_equal([left[0], right[1], right[0], left[1]], golden["flip_box_out"])
    center = affine.apply_affine(flip, golden["flip_box"][None, :2])[0]
    np.testing.assert_array_equal(center, golden["flip_center_out"])


@pytest.mark.parametrize("row", range(24))
def test_way_back_to_the_picture(golden, row):
    center, size = golden["cs"][row, :2], golden["fixed"][row]
    back = affine.input_to_picture(golden["pred"][row], center, size, tuple(golden["size"][row]))
    np.testing.assert_allclose(back, golden["pred_img"][row], rtol=1e-5, atol=1e-3)
    inverse = affine.invert(affine.warp_matrix(center, size, 0, tuple(golden["size"][row])))
    np.testing.assert_allclose(affine.apply_affine(inverse, golden["pred"][row]), back, rtol=1e-5, atol=1e-3)


def test_newell_transform():
    """princeton-vl's matrices, and its points truncated towards zero, there and back."""
    with np.load(Path(__file__).parent / "data" / "princeton_decode.npz") as data:
        parameters, matrices, points = data["tf_param_f64"], data["tf_mat_f64"], data["tf_pts_f64"]
    for (x, y, scale, rotation, *resolution), expected, (px, py, *mapped) in zip(
        parameters, matrices, points, strict=True
    ):
        matrix = affine.newell_matrix((x, y), scale, rotation, (resolution[1], resolution[0]))
        np.testing.assert_allclose(matrix, expected[:2], rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(np.trunc(affine.apply_affine(matrix, np.array([px, py]))), mapped[:2])
        back = affine.apply_affine(affine.invert(matrix), np.array([px, py]) / 5)
        np.testing.assert_array_equal(np.trunc(back), mapped[2:])


def test_batches_equal_single_matrices(golden, device):
    rotations = torch.from_numpy(golden["rot_f64"]).to(device)
    centers, sizes = (torch.from_numpy(part.copy()).to(device) for part in (golden["cs"][:, :2], golden["fixed"]))
    points = torch.from_numpy(golden["kpt"]).to(device)
    for out in ((192, 256), (64, 64)):
        for batched, single in (
            (affine_torch.warp_matrices, affine.warp_matrix),
            (affine_torch.udp_warp_matrices, affine.udp_warp_matrix),
        ):
            matrices = batched(centers, sizes, rotations, out)
            expected = np.stack(
                [single(*row, out) for row in zip(golden["cs"][:, :2], golden["fixed"], golden["rot_f64"], strict=True)]
            )
            np.testing.assert_allclose(matrices.cpu(), expected, rtol=1e-9, atol=1e-9)
            inverses = np.stack([affine.invert(matrix) for matrix in expected])
            np.testing.assert_allclose(affine_torch.invert_affine(matrices).cpu(), inverses, rtol=1e-9, atol=1e-9)
            mapped = np.stack([affine.apply_affine(m, p) for m, p in zip(expected, golden["kpt"], strict=True)])
            np.testing.assert_allclose(affine_torch.apply_affine(matrices, points).cpu(), mapped, rtol=1e-9, atol=1e-9)
    uneven = affine_torch.warp_matrices(
        centers, sizes * torch.tensor([1.0, 2.0], device=device), rotations, (64, 64), keep_aspect=False
    )
    single = affine.warp_matrix(golden["cs"][3, :2], golden["fixed"][3] * [1, 2], golden["rot_f64"][3], (64, 64), False)
    np.testing.assert_allclose(uneven[3].cpu(), single, rtol=1e-9, atol=1e-9)
    fixed = affine_torch.fix_aspect_ratios(sizes, 0.75)
    np.testing.assert_allclose(fixed.cpu(), affine.fix_aspect_ratio(golden["fixed"], 0.75), rtol=1e-6)


IDENTITY = np.eye(2, 3)
TWO, ONES, ZEROS = torch.zeros(2, 2), torch.ones(2, 2), torch.zeros(2)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("boxes", lambda: affine.box_center_size([[1, 2, 3]])),
        ("boxes", lambda: affine.box_center_size([[1, 2, 3, 4], [5]])),
        ("boxes", lambda: affine.box_center_size({"bbox": [1, 2, 3, 4]})),
        ("boxes", lambda: affine.box_center_size([[1, 2, 3, np.nan]])),
        ("boxes", lambda: affine.box_center_size([[-3e38, 0, 3e38, 1]])),
        ("padding", lambda: affine.box_center_size([[1, 2, 3, 4]], np.inf)),
        ("size", lambda: affine.fix_aspect_ratio([1, 2, 3], 1.0)),
        ("aspect", lambda: affine.fix_aspect_ratio([1, 2], 0)),
        ("center", lambda: affine.warp_matrix((1, 2, 3), (4, 5), 0, (8, 8))),
        ("size", lambda: affine.warp_matrix((1, 2), (0, 5), 0, (8, 8))),
        ("rotation", lambda: affine.warp_matrix((1, 2), (4, 5), np.nan, (8, 8))),
        ("out", lambda: affine.udp_warp_matrix((1, 2), (4, 5), 0, "ab")),
        ("keep_aspect", lambda: affine.warp_matrix((1, 2), (4, 5), 0, (8, 8), keep_aspect="no")),
        ("scale", lambda: affine.newell_matrix((1, 2), -1, 0, (8, 8))),
        ("points", lambda: affine.input_to_picture([1, 2, 3], (1, 2), (4, 5), (8, 8))),
        ("width", lambda: affine.flip_matrix(np.inf)),
        ("inner", lambda: affine.compose(IDENTITY, np.eye(3))),
        ("outer", lambda: affine.compose(None, IDENTITY)),
        ("matrix", lambda: affine.invert(np.zeros((2, 3)))),
        ("points", lambda: affine.apply_affine(IDENTITY, "points")),
        ("rotations", lambda: affine_torch.warp_matrices(TWO, ONES, torch.zeros(3), (4, 4))),
        ("centers", lambda: affine_torch.warp_matrices([1, 2], ONES, ZEROS, (4, 4))),
        ("sizes", lambda: affine_torch.udp_warp_matrices(TWO, torch.ones(2, 3), ZEROS, (4, 4))),
        ("sizes", lambda: affine_torch.fix_aspect_ratios(torch.ones(3), 1.0)),
        ("out", lambda: affine_torch.udp_warp_matrices(TWO, ONES, ZEROS, (4, 0))),
        ("matrices", lambda: affine_torch.invert_affine(torch.ones(2, 3, 3))),
        ("points", lambda: affine_torch.apply_affine(torch.ones(2, 2, 3), torch.ones(3, 4, 2))),
    ],
)
def test_bad_arguments_are_named(name, call):
    with pytest.raises((TypeError, ValueError), match=f": {name} must"):
        call()
