"""Metrics against MMPose's numbers (tests/data/mpii_pckh.npz) and against what the definitions demand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hgfast.metrics import auc, coco_results, epe, heatmap_pck, nme, oks, oks_nms, pck, pckh, pckh_auc

NAMES = ["head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "PCKh", "PCKh@0.1"]


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "mpii_pckh.npz") as data:
        return dict(data)


def predictions(golden, name):
    return (golden["gt"] - 1 + golden[name]) + 1  # MMPose adds 1 to 0-based predictions: the same float32 operations


def cases(golden):
    gt, labelled, head, subset = golden["gt"], golden["labelled"], golden["head_size_f64"], golden["subset"]
    noise0, noise1 = predictions(golden, "noise0"), predictions(golden, "noise1")
    two_missing = labelled[subset].copy()
    two_missing[:, [0, 13]] = 0
    return [
        (noise0, gt, labelled, head),
        (noise1, gt, labelled, head),
        (noise1, gt, golden["unoccluded"], head),
        (noise1[subset], gt[subset], two_missing, head[subset]),
        None,  # head sizes of 0: the peer is wrong there, see below
        (gt + golden["noise1"] + 1, gt, labelled, head),
    ]


@pytest.mark.parametrize("row", [0, 1, 2, 3, 5])
def test_pckh_equals_mmpose(golden, row):
    result = pckh(*cases(golden)[row])
    assert list(result) == NAMES
    np.testing.assert_allclose(list(result.values()), golden["results_f64"][row], rtol=0, atol=1e-6)


def test_head_size_zero_is_left_out_at_every_threshold(golden):
    subset, gt, labelled = golden["subset"], golden["gt"], golden["labelled"]
    pred, head = predictions(golden, "noise1")[subset], golden["head_size_f64"][subset].copy()
    head[::4] = 0
    result = pckh(pred, gt[subset], labelled[subset], head)
    expected = dict(zip(NAMES, golden["results_f64"][4], strict=True))
    wrong_in_peer = expected.pop("PCKh@0.1")
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    swapped = pckh(pred, gt[subset], labelled[subset], head, thresholds=(0.1, 0.5))
    assert result["PCKh@0.1"] == swapped["PCKh@0.1"] < wrong_in_peer - 15
    far = pred.copy()
    far[::4] += 1000  # the persons without a head size must not matter at all
    assert pckh(far, gt[subset], labelled[subset], head) == result


def test_threshold_is_strict_and_float32():
    gt = np.full((4, 16, 2), 100, np.float32)
    pred = gt.copy()
    pred[..., 0] += np.array([5, 4.999, 1, 0.999], np.float32)[:, None]
    result = pckh(pred, gt, np.ones((4, 16)), np.full(4, 10.0))
    assert result["PCKh"] == 75
    assert result["PCKh@0.1"] == 25


def test_unlabelled_joint():
    gt = np.zeros((2, 16, 2))
    visible = np.ones((2, 16))
    visible[:, 0] = 0
    assert pckh(gt, gt, visible, [1, 1])["ankle"] == 0  # mean of 100 and MMPose's -100
    skipped = pckh(gt, gt, visible, [1, 1], unlabelled="skip")
    assert skipped["ankle"] == 100 and skipped["PCKh"] == 100
    nothing = pckh(gt, gt, np.zeros((2, 16)), [1, 1], unlabelled="skip")
    assert all(np.isnan(value) for value in nothing.values())


def test_thresholds_name_the_results_and_tensors_are_taken():
    gt = torch.zeros(1, 16, 2, requires_grad=True)
    pred = torch.full((1, 16, 2), 0.3)
    result = pckh(pred, gt, torch.ones(1, 16), torch.ones(1), thresholds=(0.2, 0.5))
    assert list(result)[-2:] == ["PCKh@0.2", "PCKh"]
    assert (result["head"], result["PCKh@0.2"], result["PCKh"]) == (0, 0, 100)


def test_area_under_the_pckh_curve(golden):
    """By the toolkit's steps: percentages of distances up to 0, 0.01, ..., 0.5, trapezoids, the range scaled to 1."""
    pred, gt, labelled, head = cases(golden)[1]
    pooled = np.linalg.norm(pred.astype(float) - gt, axis=2) / head[:, None]
    pooled = pooled[:, [k for k in range(16) if k not in (6, 7)]][labelled[:, [*range(6), *range(8, 16)]] > 0]
    curve = np.array([(pooled <= threshold).mean() * 100 for threshold in np.arange(0, 0.505, 0.01)])
    assert pckh_auc(pred, gt, labelled, head) == pytest.approx(np.trapezoid(curve, dx=1 / 50), abs=2e-3)
    assert pckh_auc(gt, gt, labelled, head) == 100
    half = gt + np.float32([1, 0]) * (0.25 * head)[:, None, None].astype(np.float32)  # right from 0.25 on
    assert pckh_auc(half, gt, labelled, head) == pytest.approx(50, abs=1.1)
    with pytest.raises(ValueError, match="limit must be greater than 0"):
        pckh_auc(gt, gt, labelled, head, limit=0)


@pytest.mark.parametrize("case", ["0", "1"])
def test_heatmap_pck_equals_mmpose(golden, case):
    output, target, mask = (golden[f"acc{case}_{name}"] for name in ("out", "target", "mask"))
    peer_norm = np.tile(np.float32(output.shape[2:]), (len(output), 1))  # the peer's (H, W) for (x, y)
    result = heatmap_pck(output, target, mask, norm=peer_norm)
    expected = golden[f"acc{case}_per_joint"]
    np.testing.assert_allclose(result["per_joint"], np.where(expected >= 0, 100 * expected, np.nan), rtol=1e-6)
    average, count = golden[f"acc{case}_avg_cnt"]
    assert result["PCK"] == pytest.approx(100 * average, rel=1e-6)
    assert np.isfinite(result["per_joint"]).sum() == count


def test_heatmap_pck_measures_x_in_widths():
    target = np.zeros((1, 1, 10, 100), np.float32)
    output = target.copy()
    target[0, 0, 5, 50] = output[0, 0, 5, 54] = 1
    assert heatmap_pck(output, target, [[1]])["PCK"] == 100  # 4 of 100 pixels: below 0.05
    assert heatmap_pck(output, target, [[1]], threshold=0.04)["PCK"] == 0


def test_princeton_per_joint_rates(golden):
    """princeton-vl's mpii_eval rounds rates to 3 digits; its joint groups pool left and right."""
    names = list(golden["princeton_names"])
    joints = {"ankle": [0, 5], "knee": [1, 4], "hip": [2, 3], "wrist": [10, 15], "elbow": [11, 14], "head": [9]}
    norm = golden["head_size_f64"]
    for row, (noise, threshold) in enumerate([("noise0", 0.5), ("noise0", 0.1), ("noise1", 0.5), ("noise1", 0.1)]):
        for group, ids in joints.items():
            pred = golden["gt"][:, ids] + golden[noise][:, ids]
            visible = golden["labelled"][:, ids]
            rates = pck(pred, golden["gt"][:, ids], visible, norm, threshold)["per_joint"]
            pooled = (rates * visible.sum(0)).sum() / visible.sum() / 100
            assert pooled == pytest.approx(golden["princeton_f64"][row, names.index(f"all/{group}"), 0], abs=6e-4)


def test_pck_auc_epe_nme_by_hand():
    gt = np.zeros((2, 2, 2))
    pred = np.array([[[3, 4], [0, 0]], [[30, 40], [6, 8]]])
    visible = np.array([[1, 1], [1, 0]])
    assert epe(pred, gt, visible) == pytest.approx((5 + 0 + 50) / 3)
    assert nme(pred, gt, visible, [10, 100]) == pytest.approx((0.5 + 0 + 0.5) / 3)
    result = pck(pred, gt, visible, [10, 100], threshold=0.5)
    assert result["per_joint"].tolist() == [0, 100] and result["PCK"] == 50
    # distances / 100: joint 0 has 0.05 and 0.5, joint 1 has 0; thresholds 0, 0.1, ..., 0.9
    expected = np.mean([0] + [(0.5 + 1) / 2] * 5 + [1] * 4)
    assert auc(pred, gt, visible, norm=100.0, steps=10) == pytest.approx(expected)
    assert auc(pred, gt, visible, norm=[100, 100], steps=10) == pytest.approx(expected)
    assert np.isnan(epe(pred, gt, np.zeros((2, 2)))) and np.isnan(nme(pred, gt, visible, [0, 0]))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pred": np.zeros((2, 16))}, ValueError, r"pred must have shape \(any, any, 2\)"),
        ({"pred": np.zeros((2, 15, 2)), "gt": np.zeros((2, 15, 2))}, ValueError, "visible must have shape"),
        ({"gt": np.zeros((1, 16, 2))}, ValueError, "gt must have shape"),
        ({"visible": np.ones((2, 15))}, ValueError, "visible must have shape"),
        ({"head_size": np.ones(3)}, ValueError, "head_size must have shape"),
        ({"head_size": [1, -1]}, ValueError, "head_size must hold finite lengths >= 0"),
        ({"head_size": [1, np.inf]}, ValueError, "head_size must hold finite lengths >= 0"),
        ({"gt": np.full((2, 16, 2), np.nan)}, ValueError, "gt must be finite where visible"),
        ({"visible": np.full((2, 16), np.nan)}, ValueError, "visible must be finite"),
        ({"pred": [[[1, 2]], [[1]]]}, ValueError, "pred must be an array of numbers of one shape"),
        ({"thresholds": (0.5, float("nan"))}, ValueError, r"thresholds\[1\] must be finite"),
        ({"thresholds": 0.5}, ValueError, "thresholds must be a list"),
        ({"head_size": [1, np.nan]}, ValueError, "head_size must hold finite lengths >= 0"),
        ({"thresholds": ()}, ValueError, "thresholds must be a list of at least one"),
        ({"unlabelled": "zero"}, ValueError, "unlabelled must be one of"),
        ({"pred": "abc"}, TypeError, "pred must be an array of numbers"),
        ({"gt": np.zeros((2, 16, 2), complex)}, TypeError, "gt must hold real numbers"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"pred": np.zeros((2, 16, 2)), "gt": np.zeros((2, 16, 2)), "visible": np.ones((2, 16))}
    arguments |= {"head_size": np.ones(2)} | change
    with pytest.raises(error, match=message):
        pckh(**arguments)


def test_empty_set():
    result = pckh(np.zeros((0, 16, 2)), np.zeros((0, 16, 2)), np.zeros((0, 16)), np.zeros(0), unlabelled="skip")
    assert np.isnan(result["PCKh"])


def test_long_curves_are_quick_and_longer_ones_refused():
    rng = np.random.default_rng(0)
    gt = rng.uniform(0, 100, (500, 16, 2))
    pred, visible = gt + rng.normal(0, 9, gt.shape), np.ones((500, 16))
    expected = np.mean([pck(pred, gt, visible, np.full(500, 30.0), i / 50)["PCK"] for i in range(50)]) / 100
    assert auc(pred, gt, visible, steps=50) == pytest.approx(expected, abs=1e-12)
    assert auc(pred, gt, visible, steps=100_000) == pytest.approx(expected, abs=0.02)
    rough, fine = (pckh_auc(pred, gt, visible, np.full(500, 60.0), steps=steps) for steps in (50, 100_000))
    assert fine == pytest.approx(rough, abs=0.1)
    for function, norm in ((auc, 30.0), (pckh_auc, np.ones(500))):
        for steps in (2**31, 0, -1):
            with pytest.raises(ValueError, match="steps must be at"):
                function(pred, gt, visible, norm, steps=steps)
        with pytest.raises(TypeError, match="steps must be an int"):
            function(pred, gt, visible, norm, steps=20.0)


def test_a_prediction_that_is_not_finite_is_wrong():
    gt = np.zeros((2, 16, 2))
    pred = gt.copy()
    pred[0, :, 0] = [np.nan, np.inf, -np.inf, 1e300] * 4
    visible = np.ones((2, 16))
    assert pckh(pred, gt, visible, [1, 1])["PCKh"] == pck(pred, gt, visible, [1, 1])["PCK"] == 50
    assert auc(pred, gt, visible) == pytest.approx(0.5 * 19 / 20)
    assert epe(pred, gt, visible) == nme(pred, gt, visible, [1, 1]) == np.inf


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: pck(GT, GT, [[1]], [1], threshold=float("inf")), "threshold"),
        (lambda: pck(GT, GT, [[1]], [1], threshold="0.2"), "threshold"),
        (lambda: pck(GT, GT, [[1]], {"norm": 1}), "norm"),
        (lambda: auc(GT, GT, [[1]], norm=float("nan")), "norm"),
        (lambda: auc(GT, GT, [[1]], norm="30"), "norm"),
        (lambda: pck(torch.zeros(1, 1, 2).to_sparse(), GT, [[1]], [1]), "pred"),
        (lambda: pck(torch.zeros(1, 1, 2, device="meta"), GT, [[1]], [1]), "pred"),
        (lambda: pck(torch.zeros(1, 1, 2, dtype=torch.cfloat), GT, [[1]], [1]), "pred"),
        (lambda: pck([[[10**400, 0]]], GT, [[1]], [1]), "pred"),
        (lambda: heatmap_pck(np.zeros((1, 1, 0, 4)), np.zeros((1, 1, 0, 4)), [[1]]), "output"),
        (lambda: heatmap_pck(np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 4, 5)), [[1]]), "target"),
        (lambda: heatmap_pck(np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 4, 4)), [1]), "mask"),
        (lambda: oks(np.zeros((2, 2)), np.zeros((3, 2)), 1.0, [1, 1]), "b"),
        (lambda: oks(np.zeros((2, 2)), np.zeros((2, 2)), -1.0, [1, 1]), "area"),
        (lambda: oks(np.zeros((2, 2)), np.zeros((2, 2)), 1.0, [1, 0]), "sigmas"),
        (lambda: oks_nms(np.zeros((3, 2, 2)), [1, 2], [1, 1, 1], [1, 1]), "scores"),
        (lambda: oks_nms(np.zeros((3, 2, 2)), [1, 2, 3], [1, 1, float("nan")], [1, 1]), "areas"),
        (lambda: coco_results([1], np.zeros((1, 2, 2)), np.zeros((1, 3)), [1], [1], [1, 1]), "joint_scores"),
        (lambda: coco_results([1.5], np.zeros((1, 2, 2)), np.zeros((1, 2)), [1], [1], [1, 1]), "image_ids"),
        (lambda: coco_results([1], np.zeros((1, 2, 3)), np.zeros((1, 2)), [1], [1], [1, 1]), "keypoints"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, name):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
        call()


GT = np.zeros((1, 1, 2))


def test_a_length_for_everybody_may_be_numpys() -> None:
    pred, gt, seen = np.zeros((1, 2, 2)), np.ones((1, 2, 2)), np.ones((1, 2))
    assert auc(pred, gt, seen, np.float32(30)) == auc(pred, gt, seen, 30.0)
