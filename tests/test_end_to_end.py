"""From JPEG files to keypoints in picture pixels with the full hourglass52, against MMPose's own run."""

from pathlib import Path

import numpy as np
import pytest
import torch

import hgfast
from hgfast.codecs import MSRAHeatmap
from hgfast.data import MPII, PoseDataset, load_mpii, network_input
from hgfast.predict import Predictor
from hgfast.train.evaluate import predict_dataset
from tests.recipe import apply_recipe


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "mmpose_images.npz") as data:
        return dict(data)


@pytest.fixture(scope="module")
def predictor(golden):
    """MMPose's test configuration: flip test with the one-pixel shift, weights by the recipe of the golden data."""
    model = apply_recipe(hgfast.models.build("hourglass52"), int(golden["e2e_seed"][0]))
    return Predictor(model, MSRAHeatmap((256, 256), (64, 64), 2.0), batch_size=5)


def assert_same_people(golden, keypoints, scores):
    """The maxima of a random network are close together: where two differ by less than the noise, either will do."""
    noise = 1e-3 * golden["e2e_hm_std"]
    decided = golden["e2e_margin"] > 4 * noise
    assert decided.mean() > 0.9
    np.testing.assert_allclose(scores, golden["e2e_scores"], atol=4 * noise.max())
    np.testing.assert_allclose(keypoints[decided], golden["e2e_keypoints"][decided], atol=2e-3)


def test_boxes(golden, predictor, mpii_root):
    persons = load_mpii(mpii_root / "test_mpii.json", mpii_root)
    results = predictor([person.image for person in persons], list(golden["val_bbox"][:, None]))
    assert_same_people(
        golden, np.concatenate([r.keypoints for r in results]), np.concatenate([r.scores for r in results])
    )


def test_data_set(golden, predictor, mpii_root):
    dataset = PoseDataset(load_mpii(mpii_root / "test_mpii.json", mpii_root), MPII, (256, 256))
    assert_same_people(golden, *predict_dataset(predictor, dataset))


def test_heatmaps(golden, predictor, mpii_root):
    dataset = PoseDataset(load_mpii(mpii_root / "test_mpii.json", mpii_root), MPII, (256, 256))
    crops = torch.from_numpy(np.stack([dataset[i]["image"] for i in range(5)]))
    heatmaps = predictor.heatmaps(network_input(crops))
    np.testing.assert_allclose(heatmaps.mean((2, 3)), golden["e2e_hm_mean"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(heatmaps.std((2, 3), correction=0), golden["e2e_hm_std"], rtol=1e-3)
    wanted = golden["e2e_hm_ch0_ch9"]
    np.testing.assert_allclose(heatmaps[:2, [0, 9]], wanted, atol=5e-3 * wanted.std())
