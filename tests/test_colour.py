"""princeton-vl's change of colours, and its distributions of scale and rotation."""

import cv2
import numpy as np
import pytest

from hgfast.data import MPII, Augmentation, Person, PoseDataset
from hgfast.data.augment import Change
from hgfast.data.colour import Colour


def princeton(image, change):
    """The steps of the peer's `preprocess`, one by one, on red-green-blue in 0..1."""
    data = cv2.cvtColor(image[..., ::-1].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    data[..., 0] = np.mod(data[..., 0] + (change.hue * 360 + 360), 360)
    data[..., 1] = np.maximum(np.minimum(data[..., 1] * change.saturation, 1), 0)
    data = cv2.cvtColor(data, cv2.COLOR_HSV2RGB) + change.brightness
    mean = data.mean(axis=2, keepdims=True)
    data = (data - mean) * change.contrast + mean
    return np.minimum(np.maximum(data, 0), 1)[..., ::-1]


def test_colours_change_as_in_the_peer():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    rng = np.random.default_rng(1)
    for change in [Colour.draw(rng) for _ in range(20)] + [Colour(-0.2, 1.5, 0.3, 1.5), Colour(0.2, 0.5, -0.3, 0.5)]:
        made = change.apply(image)
        assert made.dtype == np.uint8 and np.abs(made - 255 * princeton(image, change)).max() < 0.51
    np.testing.assert_array_equal(Colour().apply(image), image)


def test_draws_fill_their_ranges():
    rng = np.random.default_rng(0)
    drawn = np.array([tuple(vars(Colour.draw(rng)).values()) for _ in range(2000)])
    low, high = np.array([-0.2, 0.5, -0.3, 0.5]), np.array([0.2, 1.5, 0.3, 1.5])
    assert (drawn >= low).all() and (drawn <= high).all()
    np.testing.assert_allclose(drawn.min(axis=0), low, atol=0.01)
    np.testing.assert_allclose(drawn.max(axis=0), high, atol=0.01)


def test_princeton_distributions():
    rng = np.random.default_rng(0)
    recipe = Augmentation(distribution="uniform", scale=0.25, rotation=30.0, rotate_prob=1.0, colour_prob=0.5)
    changes = [recipe.draw(rng) for _ in range(4000)]
    for values, bound in (([c.scale - 1 for c in changes], 0.25), ([c.rotation for c in changes], 30)):
        assert np.abs(values).max() <= bound
        assert np.std(values) == pytest.approx(bound / 3**0.5, rel=0.03)  # of a uniform distribution
    assert np.mean([c.colour is not None for c in changes]) == pytest.approx(0.5, abs=0.03)
    assert all(c.colour is None for c in (Augmentation().draw(rng) for _ in range(50)))


def test_samples_get_their_colours(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    person = Person(
        tmp_path / "a.png",
        np.float32([32, 32]),
        np.float32([64, 64]),
        np.zeros((16, 2), np.float32),
        np.ones(16, np.float32),
    )
    data = PoseDataset([person], MPII, (64, 64), padding=1.0)
    change = Colour(0.1, 1.2, 0.1, 0.8)
    plain, coloured = (data.sample(0, person.center, person.size, Change(colour=c))["image"] for c in (None, change))
    np.testing.assert_array_equal(coloured, change.apply(plain))
    assert np.abs(coloured.astype(int) - plain).mean() > 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distribution": "cauchy"}, "distribution must be one of 'normal', 'uniform'; got 'cauchy'"),
        ({"flip_prob": 1.5}, "flip_prob must be at most 1, got 1.5"),
        ({"scale": 2.0}, "scale must be at most 1, got 2.0"),
        ({"colour_prob": -0.1}, "colour_prob must be at least 0, got -0.1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)
