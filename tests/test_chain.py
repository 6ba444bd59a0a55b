"""From JPEG files to a score with the full hourglass52, link by link against MMPose's own runs.

The published checkpoint and MPII are not at hand, so this is what stands in for the number in the paper: a checkpoint
in MMPose 0.x's form, five real pictures, and every step between them and the score held against what MMPose made of
the same: crops, network inputs, heatmaps, keypoints, PCKh.
"""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import hgfast
from hgfast.checkpoint import save_checkpoint
from hgfast.cli import main
from hgfast.codecs import MSRAHeatmap
from hgfast.data import MPII, PoseDataset, load_mpii, network_input
from hgfast.metrics import pckh
from hgfast.predict import Predictor
from tests.recipe import made_by_recipe
from tests.test_metrics import NAMES
from tests.test_metrics import golden as pckh_golden  # noqa: F401 - fixture

CLOSE, MIDDLE, FAR = 0.05, 0.3, 0.8  # right at 0.1, right at 0.5, wrong at both; in head sizes


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "mmpose_images.npz") as data:
        return dict(data)


@pytest.fixture(scope="module")
def published(golden, tmp_path_factory):
    """Weights by recipe as a file of MMPose 0.x, whose name carries its hash as those of the model zoo do; the network.

    The network has forgotten the weights since.
    """
    path = tmp_path_factory.mktemp("published") / "weights.pth"
    model = made_by_recipe(lambda: hgfast.models.build("hourglass52"), int(golden["e2e_seed"][0]))
    save_checkpoint(model, path, "mmpose0")
    with torch.no_grad():
        for value in model.state_dict().values():
            value.zero_()
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(f"hourglass52_mpii_256x256-{digits}_20200812.pth")), model


@pytest.fixture(scope="module")
def predictor(published):
    """MMPose's test configuration: flip test with the one-pixel shift."""
    checkpoint, model = published
    assert hgfast.load_checkpoint(model, checkpoint).form == "mmpose0"
    return Predictor(model, MSRAHeatmap((256, 256), (64, 64), 2.0), batch_size=5)


def decided(golden):
    """Joints whose maximum stands out from the rounding of a network of random weights, (5, 16)."""
    return golden["e2e_margin"] > 4e-3 * golden["e2e_hm_std"]


def annotations_around(golden, source, folder, seed=0):
    """The five pictures' annotations with joints at known distances from what MMPose predicts.

    Returns the file, those distances in head sizes, and which joints are labelled.
    """
    rng = np.random.default_rng(seed)
    distances = rng.choice([CLOSE, MIDDLE, FAR], (5, 16))
    angles = rng.uniform(0, 2 * np.pi, (5, 16))
    entries = json.loads(source.read_text())
    for entry, points, distance, angle, labelled in zip(
        entries, golden["e2e_keypoints"], distances, angles, decided(golden), strict=True
    ):
        entry["head_size"] = float(rng.uniform(30, 90))
        away = entry["head_size"] * distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        entry["joints"] = (points + 1 + away).tolist()
        entry["joints_vis"] = labelled.astype(int).tolist()
    path = folder / "annotations.json"
    path.write_text(json.dumps(entries))
    return path, distances, decided(golden)


def expected_measures(distances, labelled):
    """PCKh of distances in head sizes, counted by hand."""

    def share(joints, threshold):
        return 100 * (distances[:, joints] < threshold)[labelled[:, joints]].mean()

    pairs = {"shoulder": (12, 13), "elbow": (11, 14), "wrist": (10, 15), "hip": (2, 3), "knee": (1, 4), "ankle": (0, 5)}
    groups = {name: np.mean([share([joint], 0.5) for joint in pair]) for name, pair in pairs.items()}
    counted = [joint for joint in range(16) if joint not in (6, 7)]
    means = {"PCKh": share(counted, 0.5), "PCKh@0.1": share(counted, 0.1)}
    return {"head": share([9], 0.5)} | groups | means


def assert_same_people(golden, keypoints, scores):
    """The maxima of a random network are close together: where two differ by less than the noise, either will do."""
    assert decided(golden).mean() > 0.9
    np.testing.assert_allclose(scores, golden["e2e_scores"], atol=4e-3 * golden["e2e_hm_std"].max())
    np.testing.assert_allclose(keypoints[decided(golden)], golden["e2e_keypoints"][decided(golden)], atol=2e-3)


def test_from_pictures_to_heatmaps(golden, predictor, mpii_root):
    dataset = PoseDataset(load_mpii(mpii_root / "test_mpii.json", mpii_root), MPII, (256, 256))
    crops = np.stack([dataset[i]["image"] for i in range(5)])
    small = [cv2.resize(crop.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA) for crop in crops]
    np.testing.assert_allclose(small, golden["val256_area32"], atol=1)
    inputs = network_input(torch.from_numpy(crops))
    np.testing.assert_allclose(inputs[:, :, 120:136, 120:136], golden["inputs_center16"], atol=0.04)
    maps = predictor.heatmaps(inputs)
    np.testing.assert_allclose(maps.mean((2, 3)), golden["e2e_hm_mean"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(maps.std((2, 3), correction=0), golden["e2e_hm_std"], rtol=1e-3)
    wanted = golden["e2e_hm_ch0_ch9"]
    np.testing.assert_allclose(maps[:2, [0, 9]], wanted, atol=5e-3 * wanted.std())


def test_from_pictures_and_boxes_to_keypoints(golden, predictor, mpii_root):
    persons = load_mpii(mpii_root / "test_mpii.json", mpii_root)
    results = predictor([person.image for person in persons], list(golden["val_bbox"][:, None]))
    assert_same_people(golden, *(np.concatenate([getattr(r, n) for r in results]) for n in ("keypoints", "scores")))


def test_the_measure_on_the_whole_validation_set(pckh_golden):  # noqa: F811
    """PCKh of the 2958 persons of MPII."""
    pred = (pckh_golden["gt"] - 1 + pckh_golden["noise1"]) + 1
    result = pckh(pred, pckh_golden["gt"], pckh_golden["labelled"], pckh_golden["head_size_f64"])
    np.testing.assert_allclose([result[name] for name in NAMES], pckh_golden["results_f64"][1], rtol=0, atol=1e-6)


def test_from_a_published_file_and_pictures_to_the_score(golden, published, mpii_root, tmp_path):
    annotations, distances, labelled = annotations_around(golden, mpii_root / "test_mpii.json", tmp_path)
    command = ["eval", str(published[0]), "--preset", "hourglass52-mpii-256", "--annotations", str(annotations)]
    command += ["--images", str(mpii_root), "--json", str(tmp_path / "score.json"), "--quiet", "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "people.json"), "--set", "workers=0"]) == 0
    people = json.loads((tmp_path / "people.json").read_text())["persons"]
    assert_same_people(golden, *(np.array([p[name] for p in people]) for name in ("keypoints", "keypoint_scores")))
    measured = json.loads((tmp_path / "score.json").read_text())
    for name, value in expected_measures(distances, labelled).items():
        np.testing.assert_allclose(measured[name], value, atol=1e-4, err_msg=name)
    assert 20 < measured["PCKh@0.1"] < 50 < measured["PCKh"] < 80
