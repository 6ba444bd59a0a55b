"""Predictor with a frozen network, its usual form."""

import numpy as np
import pytest
import torch

from hgfast import FrozenModel
from hgfast.codecs import MSRAHeatmap, NewellHeatmap
from hgfast.data import network_input
from hgfast.predict import Predictor
from tests.recipe import apply_recipe
from tests.small_models import FAMILIES, small_model
from tests.test_predict import SIZE, BlobFinder, codec, picture


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("flip_test", [False, True])
def test_networks_are_frozen_and_decoded_in_one_launch(family, flip_test):
    """Against the plain network, its maps averaged, decoded and mapped one after the other."""
    model = apply_recipe(small_model(family, num_keypoints=16), 0).eval()
    decode = (MSRAHeatmap if family == "mmpose" else NewellHeatmap)(SIZE, (32, 32), 2.0)
    frozen = Predictor(model, decode, flip_test=flip_test)
    plain = Predictor(model, decode, flip_test=flip_test, freeze=False)
    assert isinstance(frozen.network, FrozenModel) and plain.network is model
    crops = torch.randint(0, 256, (3, 128, 128, 3), dtype=torch.uint8)
    inverse = torch.tensor([[[1.5, 0.2, 3], [-0.2, 1.5, 5]]]).repeat(3, 1, 1)
    maps = plain.heatmaps(network_input(crops))
    if family == "princeton" and flip_test:
        maps = maps.clamp(max=1)  # princeton-vl's inference, which always has both pictures, cuts them off there
    points, scores = decode.decode(maps)
    expected = points @ inverse[:, :, :2].transpose(1, 2) + inverse[:, None, :, 2]
    for find in (plain, frozen):
        found, values = find.predict_crops(crops, inverse)
        torch.testing.assert_close(values, scores, rtol=1e-3, atol=1e-4)
        assert ((found - expected).abs().amax(2) < 1e-2).float().mean() > 0.9  # maxima of noise may be close together


def test_frozen_weights_are_those_of_the_moment():
    model = apply_recipe(small_model("mmpose", num_keypoints=16), 0)
    find = Predictor(model, codec())
    before = find(picture(50, 50)).scores
    with torch.no_grad():
        model.head.multi_final_layers[-1].weight.mul_(3)
    np.testing.assert_array_equal(find(picture(50, 50)).scores, before)
    assert not np.array_equal(Predictor(model, codec())(picture(50, 50)).scores, before)


@pytest.mark.parametrize(
    ("model", "amp", "reason"),
    [(BlobFinder(16), "off", "BlobFinder"), (small_model("mmpose", num_keypoints=16), "fp16", "dtype must be one")],
)
def test_what_cannot_be_frozen_runs_as_it_is_and_says_so(model, amp, reason, caplog):
    find = Predictor(model, codec(), amp=amp)
    assert find.network is model and find(picture(50, 50), "picture").keypoints.shape == (1, 16, 2)
    (record,) = caplog.records
    assert record.message.startswith("Predictor: the network runs as it is, not frozen (") and reason in record.message
