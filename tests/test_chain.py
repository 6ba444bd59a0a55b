"""From JPEG files to a score, link by link against MMPose's own runs.

The published checkpoint and MPII are not at hand, so this is what stands in for the number in the paper: a checkpoint
in MMPose 0.x's form, five real pictures, and every step between them and the score held against what MMPose made of
the same: crops, network inputs, heatmaps, keypoints, PCKh.
"""

import hashlib
import json

import cv2
import numpy as np
import torch

import hgfast
from hgfast.checkpoint import save_checkpoint
from hgfast.cli import main
from hgfast.codecs import MSRAHeatmap
from hgfast.data import MPII, PoseDataset, load_mpii, network_input
from hgfast.metrics import pckh
from hgfast.predict import Predictor
from hgfast.train.evaluate import predict_dataset
from tests.recipe import apply_recipe
from tests.test_end_to_end import golden  # noqa: F401 - fixture
from tests.test_metrics import NAMES
from tests.test_metrics import golden as pckh_golden  # noqa: F401 - fixture

CLOSE, MIDDLE, FAR = 0.05, 0.3, 0.8  # right at 0.1, right at 0.5, wrong at both; in head sizes


def published_file(folder, seed):
    """Weights by recipe as a file of MMPose 0.x, whose name carries its hash as those of the model zoo do."""
    path = folder / "weights.pth"
    save_checkpoint(apply_recipe(hgfast.models.build("hourglass52"), seed), path, "mmpose0")
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(folder / f"hourglass52_mpii_256x256-{digits}_20200812.pth")


def decided(golden):  # noqa: F811
    """Joints whose maximum stands out from the rounding of a network of random weights, (5, 16)."""
    return golden["e2e_margin"] > 4e-3 * golden["e2e_hm_std"]


def annotations_around(golden, source, folder, seed=0):  # noqa: F811
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


def check_crops(golden, dataset):  # noqa: F811
    crops = np.stack([dataset[i]["image"] for i in range(5)])
    small = [cv2.resize(crop.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA) for crop in crops]
    np.testing.assert_allclose(small, golden["val256_area32"], atol=1)
    inputs = network_input(torch.from_numpy(crops))
    np.testing.assert_allclose(inputs[:, :, 120:136, 120:136], golden["inputs_center16"], atol=0.04)
    return inputs


def check_heatmaps(golden, predictor, inputs):  # noqa: F811
    maps = predictor.heatmaps(inputs)
    np.testing.assert_allclose(maps.mean((2, 3)), golden["e2e_hm_mean"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(maps.std((2, 3), correction=0), golden["e2e_hm_std"], rtol=1e-3)
    wanted = golden["e2e_hm_ch0_ch9"]
    np.testing.assert_allclose(maps[:2, [0, 9]], wanted, atol=5e-3 * wanted.std())


def check_score(vectors):
    """The measure itself, on the 2958 persons of MPII's validation set."""
    pred = (vectors["gt"] - 1 + vectors["noise1"]) + 1
    result = pckh(pred, vectors["gt"], vectors["labelled"], vectors["head_size_f64"])
    np.testing.assert_allclose([result[name] for name in NAMES], vectors["results_f64"][1], rtol=0, atol=1e-6)


def test_from_pictures_to_the_score(golden, pckh_golden, mpii_root, tmp_path):  # noqa: F811
    checkpoint = published_file(tmp_path, int(golden["e2e_seed"][0]))
    annotations, distances, labelled = annotations_around(golden, mpii_root / "test_mpii.json", tmp_path)
    assert labelled.mean() > 0.9

    model = hgfast.models.build("hourglass52")
    assert hgfast.load_checkpoint(model, checkpoint).form == "mmpose0"
    predictor = Predictor(model, MSRAHeatmap((256, 256), (64, 64), 2.0), batch_size=5)
    dataset = PoseDataset(load_mpii(annotations, mpii_root), MPII, (256, 256))
    check_heatmaps(golden, predictor, check_crops(golden, dataset))
    keypoints, _ = predict_dataset(predictor, dataset)
    np.testing.assert_allclose(keypoints[labelled], golden["e2e_keypoints"][labelled], atol=2e-3)
    check_score(pckh_golden)

    command = ["eval", str(checkpoint), "--preset", "hourglass52-mpii-256", "--annotations", str(annotations)]
    command += ["--images", str(mpii_root), "--json", str(tmp_path / "score.json"), "--quiet", "--device", "cpu"]
    assert main([*command, "--set", "workers=0"]) == 0
    measured = json.loads((tmp_path / "score.json").read_text())
    for name, value in expected_measures(distances, labelled).items():
        np.testing.assert_allclose(measured[name], value, atol=1e-4, err_msg=name)
    assert 20 < measured["PCKh@0.1"] < 50 < measured["PCKh"] < 80
