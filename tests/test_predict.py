"""Predictor: pictures and boxes in, picture coordinates out."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import hgfast
from hgfast.checkpoint import save_checkpoint
from hgfast.codecs import MSRAHeatmap
from hgfast.data import COCO, MPII, KeypointSet
from hgfast.predict import Predictor
from hgfast.train import preset
from hgfast.train.build import make_codec, make_model, make_predictor
from hgfast.train.config import ConfigError, apply
from hgfast.train.state import checkpoint_meta
from tests.test_train import SMALL

SIZE = (128, 128)


class BlobFinder(nn.Module):
    """Stands in for a network: every heatmap is the input's brightness at stride 4."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.anchor = nn.Parameter(torch.zeros(1))
        self.batches: list[int] = []

    def forward(self, images):
        self.batches.append(len(images))
        bright = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4) - images.amin()
        return [bright.expand(-1, self.count, -1, -1)]


def codec():
    return MSRAHeatmap(SIZE, (32, 32), 2.0)


def predictor(**options):
    return Predictor(BlobFinder(16), codec(), **options)


def picture(x, y, size=(300, 240)):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    cv2.circle(image, (round(x * 16), round(y * 16)), 16 * 9, (255, 255, 255), cv2.FILLED, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(image, (0, 0), 4)


@pytest.mark.parametrize("flip_test", [False, True])
def test_finds_points_in_picture_pixels(flip_test):
    """A blob is found within the quantisation of the heatmap: a quarter of its pixel, and half a picture pixel."""
    find = predictor(flip_test=flip_test, shift_heatmap=False)
    boxes = [[100, 40, 220, 160], [90, 60, 170, 200], [60, 20, 240, 120]]
    keypoints, scores = find(picture(150, 90), boxes)
    assert keypoints.shape == (3, 16, 2) and scores.shape == (3, 16) and keypoints.dtype == np.float32
    for (x1, y1, x2, y2), points in zip(boxes, keypoints, strict=True):
        step = max(x2 - x1, y2 - y1) * 1.25 / 32  # a heatmap pixel, in the picture
        # the average of 4 x 4 pixels sits at their centre: 1.5 of 4 input pixels to the right of x * stride
        np.testing.assert_allclose(points, [[150 - 1.5 / 4 * step, 90 - 1.5 / 4 * step]] * 16, atol=0.55 * step)


def test_flip_test_averages_the_mirrored_picture():
    image = torch.randn(2, 3, 128, 128)
    find = predictor(shift_heatmap=False)
    plain = find.model(image)[-1]
    mirrored = find.model(image.flip(3))[-1].flip(3)[:, list(MPII.flip_indices)]
    torch.testing.assert_close(find.heatmaps(image), (plain + mirrored) / 2)
    shifted = mirrored.clone()
    shifted[..., 1:] = mirrored[..., :-1]
    torch.testing.assert_close(predictor().heatmaps(image), (plain + shifted) / 2)
    torch.testing.assert_close(predictor(flip_test=False).heatmaps(image), plain)


def test_many_pictures_are_batched_across_and_come_back_in_order():
    images = [picture(60 + 20 * i, 80) for i in range(4)]
    boxes = [np.tile([[40, 20, 200, 180]], (count, 1)) for count in (3, 0, 1, 3)]
    find = predictor(batch_size=3, flip_test=False)
    results = find(images, boxes)
    assert [len(r.keypoints) for r in results] == [3, 0, 1, 3]
    assert find.model.batches == [3, 3, 1]
    for image, persons, result in zip(images, boxes, results, strict=True):
        alone = find(image, persons)
        np.testing.assert_array_equal(alone.keypoints, result.keypoints)
        np.testing.assert_array_equal(alone.scores, result.scores)


def test_paths_and_whole_pictures(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture(150, 90))
    find = predictor(whole_pictures=True)
    result = find(path)
    assert result.keypoints.shape == (1, 16, 2)
    np.testing.assert_array_equal(result.keypoints, find(str(path), [[0, 0, 300, 240]]).keypoints)
    assert find([path, path])[1].keypoints.shape == (1, 16, 2)
    assert find([]) == []


def test_pictures_without_boxes_are_told_once(caplog):
    find = predictor(freeze=False)
    assert find([picture(50, 50)], "picture")[0].keypoints.shape == (1, 16, 2) and not caplog.records
    find(picture(50, 50)), find(picture(50, 50))
    (record,) = caplog.records
    assert "there are no boxes, so each picture is taken as a whole" in record.message
    with pytest.raises(ValueError, match=r"boxes\[0\] must be one of 'picture'; got 'all'"):
        find(picture(50, 50), "all")


def test_a_predictor_out_of_a_checkpoint(tmp_path):
    """Everything is in the file: keypoints of one's own, sizes, codec, normalisation, padding; options go first."""
    mice = KeypointSet("mice", ("snout", "left_ear", "right_ear"), ((1, 2),))
    changes = {
        "format": "coco",
        "keypoints": mice.to_table(),
        "codec": "udp",
        "mean": (1, 2, 3),
        "padding": 1.5,
        "monitor": "auto",
    }
    config = apply(preset("demo"), SMALL | changes)
    model = make_model(config)
    save_checkpoint(model, tmp_path / "a.pt", "hgfast", checkpoint_meta(config, {}))
    find = hgfast.Predictor.from_checkpoint(tmp_path / "a.pt", flip_test=False, device="cpu")
    assert find.table == mice and find.codec.method == "dark_udp" and find.codec.input_size == config.input_size
    assert (find.mean, find.padding, find.flip_test) == ((1, 2, 3), 1.5, False)
    expected = make_predictor(config, model, make_codec(config), "cpu")
    box = [[10, 10, 90, 100]]
    np.testing.assert_array_equal(
        Predictor.from_checkpoint(str(tmp_path / "a.pt"))(picture(50, 50), box).keypoints,
        expected(picture(50, 50), box).keypoints,
    )
    torch.save({"state_dict": model.state_dict()}, tmp_path / "plain.pth")
    with pytest.raises(ValueError, match="plain.pth: holds no configuration of hgfast; give a preset"):
        Predictor.from_checkpoint(tmp_path / "plain.pth")
    with pytest.raises(TypeError, match="colour"):
        Predictor.from_checkpoint(tmp_path / "a.pt", colour=True)


def test_model_is_put_into_evaluation_mode_and_table_is_respected():
    find = Predictor(BlobFinder(17).train(), codec(), COCO)
    assert not find.model.training
    assert find(picture(50, 50)).keypoints.shape == (1, 17, 2)


@pytest.mark.parametrize(
    ("images", "boxes", "error", "message"),
    [
        (np.zeros((4, 4)), None, TypeError, r"images\[0\] must be a path or a uint8 array .* got ndarray of float64"),
        ([3], None, TypeError, r"images\[0\] must be a path or a uint8 array .* got int"),
        ({"a.jpg": 1}, None, TypeError, r"images must be a picture or a list of pictures, got dict"),
        (5, None, TypeError, r"images must be a picture or a list of pictures, got int 5"),
        ([torch.zeros(4, 4, 3)], None, TypeError, r"images\[0\] must be a path or a uint8 array .* got Tensor"),
        (np.zeros((4, 4), np.uint8), None, ValueError, r"images\[0\] must have shape \(H, W, 3\), got \(4, 4\)"),
        (np.zeros((2, 32767, 3), np.uint8), None, ValueError, r"images\[0\] must have at most 32766 pixels a side"),
        ("a\0b", None, ValueError, r"images\[0\] must be a path"),
        (picture(9, 9), [1, 2, 3, 4], ValueError, r"boxes\[0\] must have shape \(any, 4\), got \(4,\)"),
        (picture(9, 9), [[5, 2, 3, 4]], ValueError, r"boxes\[0\] must have x1 < x2"),
        (picture(9, 9), [[0, 0, np.nan, 4]], ValueError, r"boxes\[0\] must be finite"),
        (picture(9, 9), [[1, 2, 3, 4], [5]], ValueError, r"boxes\[0\] must be an array of numbers of one shape"),
        (picture(9, 9), {"bbox": [1, 2, 3, 4]}, TypeError, r"boxes\[0\] must be an array of numbers, got dict"),
        (picture(9, 9), [["a", 1, 2, 3]], TypeError, r"boxes\[0\] must hold real numbers"),
        (picture(9, 9), [[0, 0, 10**400, 3]], TypeError, r"boxes\[0\] must hold real numbers"),
        (picture(9, 9), [[-3e38, 0, 3e38, 9]], ValueError, r"boxes\[0\] must lie within 1048576 pixels"),
        (picture(9, 9), [[-(2**63), 0, 1, 1]], ValueError, r"boxes\[0\] must lie within 1048576 pixels"),
        ([picture(9, 9)], [], ValueError, "boxes must have an array for each of the 1 images, got 0"),
        ([picture(9, 9)], 4, TypeError, "boxes must be a list of boxes for each picture, got int 4"),
        ("nowhere.jpg", None, FileNotFoundError, "nowhere.jpg: picture not found"),
    ],
)
def test_bad_arguments(images, boxes, error, message):
    with pytest.raises(error, match=message):
        predictor()(images, boxes)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 2.0}, TypeError),
        ({"amp": "int8"}, ValueError),
        ({"amp": None}, TypeError),
        ({"padding": float("inf")}, ValueError),
        ({"padding": 0}, ValueError),
        ({"padding": "1"}, TypeError),
        ({"mean": (1, 2)}, ValueError),
        ({"mean": (1, 2, float("nan"))}, ValueError),
        ({"std": (1, 0, 1)}, ValueError),
        ({"std": None}, TypeError),
        ({"flip_test": 1}, TypeError),
        ({"shift_heatmap": "no"}, TypeError),
        ({"freeze": None}, TypeError),
        ({"device": "meta"}, ValueError),
        ({"device": "nowhere"}, ValueError),
        ({"device": 3}, TypeError),
        ({"keypoints": "mpii"}, TypeError),
        ({"codec": "udp"}, TypeError),
        ({"model": torch.zeros(1)}, TypeError),
    ],
    ids=str,
)
def test_bad_options(options, error):
    (name,) = options
    with pytest.raises(error, match=f"^Predictor: {name}"):
        Predictor(**({"model": BlobFinder(16), "codec": codec()} | options))


def test_a_network_with_other_keypoints_is_refused():
    with pytest.raises(ValueError, match=r"model must give heatmaps \(2, 16, h, w\) for keypoints 'mpii', got Tensor"):
        Predictor(BlobFinder(17), codec())(picture(50, 50))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("crops", (torch.zeros(2, 128, 128, 3), torch.zeros(2, 2, 3))),
        ("crops", (torch.zeros(2, 64, 128, 3, dtype=torch.uint8), torch.zeros(2, 2, 3))),
        ("inverse", (torch.zeros(2, 128, 128, 3, dtype=torch.uint8), torch.zeros(2, 3))),
        ("inverse", (torch.zeros(2, 128, 128, 3, dtype=torch.uint8), None)),
    ],
)
def test_bad_crops(name, arguments):
    with pytest.raises((TypeError, ValueError), match=f"predict_crops: {name} must"):
        predictor().predict_crops(*arguments)


def test_pictures_that_cannot_be_used_are_skipped_on_request(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    good, find, skipped = picture(50, 50), predictor(batch_size=3), []
    pairs = [(good, [[0, 0, 9, 9]]), (tmp_path / "bad.png", None), (good, [[3]]), (tmp_path / "no.png", None), 7]
    seen = list(find.stream([*pairs, (good, None)], lambda number, error: skipped.append((number, str(error)))))
    assert [len(s.boxes) for s in seen] == [1, 1] and [number for number, _ in skipped] == [1, 2, 3, 4]
    for (_, message), part in zip(skipped, ("bad.png", "boxes[2]", "no.png", "pictures[4]"), strict=True):
        assert part in message
    with pytest.raises(ValueError, match="bad.png"):
        list(find.stream(pairs))


def test_crops_of_many_boxes_are_made_batch_by_batch(monkeypatch):
    import hgfast.predict.predictor as module

    alive = []
    monkeypatch.setattr(module, "crop", lambda *_: alive.append(1) or np.zeros((128, 128, 3), np.uint8))
    find = predictor(batch_size=4)
    network, most = find.predict_crops, []
    monkeypatch.setattr(find, "predict_crops", lambda *a: most.append(len(alive)) or alive.clear() or network(*a))
    assert len(find(picture(50, 50), [[0, 0, 9, 9]] * 10).scores) == 10 and most == [4, 4, 2]


def test_sizes_that_the_network_cannot_take_are_refused_at_the_start():
    plain = make_model(preset("demo")).eval()
    for model in (plain, hgfast.freeze(plain)):
        with pytest.raises(ValueError, match=r"codec.input_size: .* multiple of 32, .* got height 64, width 72"):
            Predictor(model, MSRAHeatmap((72, 64), (18, 16), 2.0))
    settings = apply(preset("demo"), {"input_size": [72, 64]})
    with pytest.raises(ConfigError, match=r"input_size \(of model 'hourglass52'\): .* got height 64, width 72"):
        make_model(settings)
