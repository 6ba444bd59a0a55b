"""Keypoint tables, annotation readers, crops, augmentation, loaders."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hgfast.codecs.affine import apply_affine
from hgfast.data import (
    KEYPOINT_SETS,
    MPII,
    AnnotationError,
    Augmentation,
    Change,
    EpochSampler,
    PoseDataset,
    keypoint_set,
    load_mpii,
    make_loader,
    network_input,
    read_image,
)
from hgfast.data.augment import half_body
from hgfast.data.cache import ImageCache
from hgfast.data.images import reduction
from hgfast.data.synthetic import SIZE, draw_sample, write_set


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "mmpose_images.npz") as data:
        return dict(data)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    return write_set(folder, count=6, seed=3, name="train")


@pytest.mark.parametrize(("name", "count"), [("mpii", 16), ("coco", 17), ("face", 68), ("hand", 21)])
def test_keypoint_tables(name, count):
    table = keypoint_set(name)
    assert table.count == len(table.sigmas) == len(set(table.names)) == count
    order = np.array(table.flip_indices)
    assert (order[order] == np.arange(count)).all()
    assert {k for link in table.skeleton for k in link} == set(range(count))
    swapped = {"left": "right", "right": "left", "middle": "middle"}
    assert all(table.sides[order[k]] == swapped[table.sides[k]] for k in range(count))


def test_mpii_flip_indices_are_mmposes():
    assert MPII.flip_indices == (5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10)
    with pytest.raises(ValueError, match="name must be one of"):
        keypoint_set("dog")
    assert set(KEYPOINT_SETS) == {"mpii", "coco", "face", "hand"}


ENTRY = {"image": "a.jpg", "center": [100, 50], "scale": 0.5, "joints": [[3, 4]] * 16, "joints_vis": [1] * 16}


def write_entries(tmp_path, *entries):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(entries))
    return path


def test_mpii_box_and_origin(tmp_path):
    joints = [[3, 4]] * 8 + [[10, 20], [13, 24]] + [[3, 4]] * 6
    path = write_entries(tmp_path, ENTRY | {"joints": joints}, ENTRY | {"center": [-1, 50], "head_size": 7.5})
    first, second = load_mpii(path, tmp_path)
    assert first.center.tolist() == [99, 50 + 7.5 - 1] and first.size.tolist() == [100, 100]
    assert first.keypoints[0].tolist() == [2, 3]
    assert first.head_size == pytest.approx(0.75 * 5) and second.head_size == 7.5
    assert second.center.tolist() == [-2, 49]  # an unknown centre is not moved down
    assert load_mpii(path, tmp_path, pixel_origin=1)[0].keypoints[0].tolist() == [3, 4]
    assert first.image == tmp_path / "a.jpg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": None}, "entry 1: field 'scale' is missing"),
        ({"scale": 0}, "entry 1: field 'scale': expected a positive number"),
        ({"center": [1]}, r"entry 1: field 'center': expected shape \(2,\), got \(1,\)"),
        ({"joints": [[1, 2]] * 15}, "entry 1: field 'joints': expected shape"),
        ({"joints": [[1, "x"]] * 16}, "entry 1: field 'joints' does not hold numbers"),
        ({"joints": [[1, float("nan")]] * 16}, "entry 1: field 'joints' holds NaN"),
        ({"image": 5}, "entry 1: field 'image'"),
        ("joints_vis", "entry 1: field 'joints_vis' is missing"),
    ],
)
def test_broken_entries_name_file_and_field(tmp_path, change, message):
    broken = {k: v for k, v in ENTRY.items() if k != change} if isinstance(change, str) else ENTRY | change
    path = write_entries(tmp_path, ENTRY, broken)
    with pytest.raises(AnnotationError, match=message) as caught:
        load_mpii(path, tmp_path)
    assert str(path) in str(caught.value)


def test_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json: annotation file not found"):
        load_mpii(tmp_path / "none.json", tmp_path)
    (tmp_path / "cut.json").write_text('[{"image": ')
    with pytest.raises(AnnotationError, match="cut.json: not a JSON file"):
        load_mpii(tmp_path / "cut.json", tmp_path)
    (tmp_path / "dict.json").write_text("{}")
    with pytest.raises(AnnotationError, match="expected a list of persons, got dict"):
        load_mpii(tmp_path / "dict.json", tmp_path)
    with pytest.raises(ValueError, match="pixel_origin"):
        load_mpii(tmp_path / "dict.json", tmp_path, pixel_origin=2)
    with pytest.raises(FileNotFoundError, match="no.jpg: picture not found"):
        read_image(tmp_path / "no.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="bad.jpg: not a picture"):
        read_image(tmp_path / "bad.jpg")


def test_head_boxes_from_matlab_file(tmp_path):
    savemat = pytest.importorskip("scipy.io").savemat
    path = write_entries(tmp_path, ENTRY, ENTRY)
    boxes = np.zeros((2, 2, 2))
    boxes[1, :, 0], boxes[1, :, 1] = (3, 4), (30, 40)
    savemat(tmp_path / "gt.mat", {"headboxes_src": boxes})
    persons = load_mpii(path, tmp_path, head_boxes=tmp_path / "gt.mat")
    assert [p.head_size for p in persons] == pytest.approx([3, 30])
    for wrong in (np.full((2, 2, 2), np.nan), boxes * 1j, np.full((2, 2, 2), "a", object)):
        savemat(tmp_path / "gt.mat", {"headboxes_src": wrong})
        with pytest.raises(AnnotationError, match="gt.mat: field 'headboxes_src'"):
            load_mpii(path, tmp_path, head_boxes=tmp_path / "gt.mat")
    savemat(tmp_path / "gt.mat", {"headboxes_src": boxes})
    whole = (tmp_path / "gt.mat").read_bytes()
    for length in (0, 3, 100, 130, 150, len(whole) - 9):
        (tmp_path / "gt.mat").write_bytes(whole[:length])
        with pytest.raises(AnnotationError, match="gt.mat: (not a MATLAB file|field 'headboxes_src' is missing)"):
            load_mpii(path, tmp_path, head_boxes=tmp_path / "gt.mat")
    savemat(tmp_path / "gt.mat", {"headboxes_src": boxes[..., :1]})
    with pytest.raises(AnnotationError, match="headboxes_src': expected shape"):
        load_mpii(path, tmp_path, head_boxes=tmp_path / "gt.mat")
    with pytest.raises(FileNotFoundError, match="none.mat: file not found"):
        load_mpii(path, tmp_path, head_boxes=tmp_path / "none.mat")


def test_crops_equal_mmpose(golden, mpii_root):
    persons = load_mpii(mpii_root / "test_mpii.json", mpii_root, pixel_origin=1)
    dataset = PoseDataset(persons, MPII, (256, 256))
    for i, person in enumerate(persons):
        sample = dataset[i]
        np.testing.assert_allclose(person.center, golden["val_input_center"][i], rtol=1e-6)
        np.testing.assert_allclose(person.size * 1.25, golden["val256_input_scale"][i], rtol=1e-6)
        np.testing.assert_array_equal(person.keypoints, golden["val_keypoints"][i])
        np.testing.assert_array_equal(person.visible, golden["val_visible"][i])
        assert person.area == pytest.approx(golden["val_area"][i, 0], rel=1e-5)
        np.testing.assert_allclose(sample["keypoints"], golden["val256_kpt"][i], atol=1e-3)
        _assert_near(sample["image"][112:144, 112:144], golden["val256_center32"][i])
        np.testing.assert_allclose(sample["image"].mean((0, 1)), golden["val256_mean"][i], atol=0.3)
        small = cv2.resize(sample["image"].astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(small, golden["val256_area32"][i], atol=1)
        given = network_input(torch.from_numpy(sample["image"])[None])
        np.testing.assert_allclose(given[0, :, 120:136, 120:136], golden["inputs_center16"][i], atol=0.04)
        np.testing.assert_allclose(given[0].mean((1, 2)), golden["inputs_mean"][i], atol=5e-3)


def test_augmented_crops_equal_mmpose(golden, mpii_root):
    persons = load_mpii(mpii_root / "test_mpii.json", mpii_root, pixel_origin=1)
    dataset = PoseDataset(persons, MPII, (256, 256))
    for i, (number, flip, factor, rotation) in enumerate(golden["aug_param"]):
        person, change = persons[int(number)], Change(bool(flip), float(factor), float(rotation))
        sample = dataset.sample(int(number), person.center, person.size * np.float32(1.25), change)
        np.testing.assert_allclose(sample["keypoints"], golden["aug_kpt"][i], atol=1e-3)
        small = cv2.resize(sample["image"].astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(small, golden["aug_area16"][i], atol=0.5)


def _assert_near(image, expected):
    """OpenCV versions and JPEG decoders differ by 1 in some values, by 2 or 3 in very few."""
    difference = np.abs(image.astype(int) - expected)
    assert difference.max() <= 4 and (difference > 1).mean() < 0.05


def test_keypoints_follow_the_pixels(figures):
    """A bright dot painted at a joint is found at the joint's place in the crop, whatever the change."""
    person = load_mpii(*figures)[0]
    image = np.zeros((208, 224, 3), np.uint8)
    joint = 12
    cv2.circle(image, tuple(np.round(person.keypoints[joint] * 16).astype(int)), 48, (255,) * 3, -1, cv2.LINE_AA, 4)
    for change in (Change(), Change(True), Change(True, 0.7, 40.0, (0.1, -0.1)), Change(False, 1.3, -75.0)):
        dataset = PoseDataset([person], MPII, (160, 160))
        dataset._images.read = lambda path, reduce: image
        sample = dataset.sample(0, person.center, person.size, change)
        weight = sample["image"][..., 0].astype(float)
        found = [(weight * axis).sum() / weight.sum() for axis in np.meshgrid(np.arange(160), np.arange(160))]
        np.testing.assert_allclose(
            found, sample["keypoints"][MPII.flip_indices[joint] if change.flip else joint], atol=0.2
        )
        order = list(MPII.flip_indices) if change.flip else list(range(16))
        back = apply_affine(sample["inverse"], sample["keypoints"])
        np.testing.assert_allclose(back, person.keypoints[order], atol=1e-3)


def test_fast_decoding_shows_the_same_scene(tmp_path):
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8), (1024, 768), interpolation=2)
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth, [cv2.IMWRITE_JPEG_QUALITY, 98])
    person = load_mpii(write_entries(tmp_path, ENTRY | {"center": [500, 350], "scale": 2.5}), tmp_path)[0]
    crops = [PoseDataset([person], MPII, (96, 96), fast_decode=fast)[0]["image"].astype(int) for fast in (False, True)]
    assert np.abs(crops[0] - crops[1]).mean() < 1.5
    sizes = (50, 199, 200, 399, 400, 799, 800, 9000)
    matrices = [np.array([[0, 100 / size, 5], [-100 / size, 0, 5]]) for size in sizes]
    assert [reduction(Path("a.JPG"), matrix) for matrix in matrices] == [1, 1, 2, 2, 4, 4, 8, 8]
    assert reduction(Path("a.png"), matrices[-1]) == 1


def test_image_cache_is_bounded(tmp_path):
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((512, 512, 3), np.uint8))  # 0.75 MiB each
    cache = ImageCache(cache_mb=2)
    first = cache.read(tmp_path / "a.png")
    assert cache.read(tmp_path / "a.png") is first
    cache.read(tmp_path / "b.png")
    cache.read(tmp_path / "c.png")
    assert cache.read(tmp_path / "a.png") is not first  # the oldest had to go
    small = ImageCache(0)
    assert small.read(tmp_path / "a.png") is not small.read(tmp_path / "a.png")


def test_augmentation_distributions():
    rng = np.random.default_rng(0)
    changes = [Augmentation(shift_prob=0.3).draw(rng) for _ in range(4000)]
    scale = np.array([c.scale for c in changes])
    turned = np.array([c.rotation for c in changes if c.rotation != 0])
    assert scale.min() >= 0.5 and scale.max() <= 1.5 and np.abs(turned).max() <= 80
    assert len(turned) / 4000 == pytest.approx(0.6, abs=0.03)
    assert np.mean([c.flip for c in changes]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([c.shift[0] != 0 for c in changes]) == pytest.approx(0.3, abs=0.03)
    assert all((c.shift[0] != 0) == (c.shift[1] != 0) for c in changes)
    for values, factor in ((scale, 0.5), (turned, 80)):  # 0.540: deviation of a standard normal cut off at 1
        assert values.std() == pytest.approx(factor * 0.540, rel=0.04)
    still = Augmentation(flip_prob=0, scale=0, rotation=0).draw(rng)
    assert still == Change(False, 1.0, 0.0, (0.0, 0.0)) or abs(still.rotation) == 0


def test_half_body():
    rng = np.random.default_rng(0)
    points = np.stack([np.arange(16), np.arange(16) * 10.0], axis=1).astype(np.float32)
    assert half_body(points, np.r_[np.ones(8), np.zeros(8)], MPII, rng) is None  # 8 joints are too few
    boxes = [half_body(points, np.ones(16), MPII, rng) for _ in range(300)]
    upper = [center[0] > 8 for center, _ in boxes]
    assert np.mean(upper) == pytest.approx(0.7, abs=0.08)
    assert {tuple(size) for _, size in boxes} == {(12.0, 120.0), (9.0, 90.0)}  # joints 7..15 and 0..6, times 1.5


def test_samples_depend_on_seed_epoch_and_number_only(figures):
    def images(seed, workers, start=0):
        dataset = PoseDataset(load_mpii(*figures), MPII, (64, 64), augment=Augmentation(), seed=seed)
        sampler = EpochSampler(len(dataset), 2, shuffle=True, seed=seed)
        loader, batches = make_loader(dataset, sampler, workers), []
        for sampler.epoch in (0, 1):
            sampler.start = start
            batches += [(batch["number"].tolist(), batch["image"]) for batch in loader]
        return batches

    plain, again, skipped, other = images(0, 0), images(0, 2), images(0, 0, start=2), images(1, 0)
    assert len(plain) == 6 and len(skipped) == 2
    for (a, x), (b, y) in zip(plain, again, strict=True):
        assert a == b and torch.equal(x, y)
    assert torch.equal(plain[2][1], skipped[0][1]) and torch.equal(plain[5][1], skipped[1][1])
    assert [b[0] for b in plain] != [b[0] for b in other]
    assert not torch.equal(_by_number(plain[:3])[0], _by_number(plain[3:])[0])  # epochs differ


def _by_number(batches):
    return {n: image for numbers, images in batches for n, image in zip(numbers, images, strict=True)}


def test_synthetic_set_is_reproducible_and_in_mpii_form(figures, tmp_path):
    path, images = figures
    again, _ = write_set(tmp_path, count=6, seed=3, name="train")
    assert path.read_bytes() == again.read_bytes()
    persons = load_mpii(path, images)
    image, joints, labelled = draw_sample(3, 4)
    assert image.shape == (SIZE[1], SIZE[0], 3) and image.dtype == np.uint8
    np.testing.assert_allclose(persons[4].keypoints[labelled], joints[labelled], atol=2e-3)
    np.testing.assert_array_equal(persons[4].visible, labelled)
    low = persons[4].center - persons[4].size / 2
    assert (joints >= low - 1e-3).all() and (joints <= low + persons[4].size + 1e-3).all()
    assert not np.array_equal(draw_sample(4, 4)[0], image)


def test_network_input_layout_and_errors():
    images = torch.randint(0, 256, (2, 8, 6, 3), dtype=torch.uint8)
    given = network_input(images, mean=(0, 0, 0), std=(255, 255, 255))
    assert given.shape == (2, 3, 8, 6) and given.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(given[:, 0], images[..., 2] / 255)
    with pytest.raises(TypeError, match="images must have one of the dtypes uint8; got float32"):
        network_input(images.float())
