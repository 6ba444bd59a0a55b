"""The loader's short cuts: reduced decoding and the file cache; and the pipeline it is measured against."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.mmpose_pipeline import annotation, transform
from hgfast.codecs.affine import compose
from hgfast.constants import constant
from hgfast.data import MPII, Augmentation, Change, EpochSampler, Person, PoseDataset, load_mpii, make_loader
from hgfast.data.cache import FileCache
from hgfast.data.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    crop,
    network_input,
    person_matrix,
    read_image,
    reduction,
)

WIDTH, HEIGHT = 1277, 715  # not multiples of 2, 4 or 8
CHANGES = [Change(), Change(flip=True), Change(True, 0.9, 40.0, (0.05, -0.1)), Change(False, 1.2, -75.0)]


def person(path: Path, side: float, joints=None) -> Person:
    points = np.full((16, 2), 300.0) if joints is None else joints
    return Person(
        path,
        np.array([640, 350], np.float32),
        np.full(2, side, np.float32),
        points.astype(np.float32),
        np.ones(16, np.float32),
    )


def dataset(people, out=64, **options):
    return PoseDataset(people, MPII, (out, out), padding=1.0, **options)


def grain(seed: int = 0) -> np.ndarray:
    """Detail of all sizes, the larger the stronger, as in photographs."""
    rng = np.random.default_rng(seed)
    total = np.full((HEIGHT, WIDTH, 3), 128, np.float32)
    for cell in (2, 4, 8, 16, 32, 64):
        noise = rng.normal(0, 4 * cell**0.5, (HEIGHT // cell, WIDTH // cell, 3)).astype(np.float32)
        total += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "grain.jpg"
    cv2.imwrite(str(path), grain(), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("reduce", [1, 2, 4, 8])
def test_joints_stay_on_their_pixels_at_every_reduction(tmp_path, reduce, change):
    """The centre of a blob painted at a joint; half a pixel of the reduced grid would be 0.3 pixels off in the crop."""
    joint = np.array([700.25, 310.5])
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    blob = 250 * np.exp(-((x - joint[0]) ** 2 + (y - joint[1]) ** 2) / (2 * 20.0**2))
    path = tmp_path / "blob.jpg"
    cv2.imwrite(str(path), np.repeat(blob[..., None], 3, axis=2).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 98])
    size, side = 480 // reduce, 480 * 1.4
    subject = person(path, side, np.tile(joint, (16, 1)))
    data = dataset([subject], size, fast_decode=reduce > 1)
    matrix = person_matrix(subject.center, subject.size * change.scale, (size, size))
    assert reduction(path, matrix) == reduce
    sample = data.sample(0, subject.center, subject.size, change)
    weight = np.where(sample["image"][..., 0] > 12, sample["image"][..., 0], 0).astype(float)
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    np.testing.assert_allclose(found, sample["keypoints"][0], atol=0.06)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("size", "reduce"), [(200, 2), (100, 4), (50, 8)])
@pytest.mark.parametrize(("margin", "limit"), [(1.01, 1.7), (1.6, 0.95)])
def test_reduced_crops_come_near_to_the_true_picture(picture, size, reduce, margin, limit, change):
    """The true crop: every pixel the mean over its area, by a crop of four times the size.

    At once after a factor is reached, bilinear steps of 1 blur a little; further on whole pictures alias much more.
    """
    side = reduce * size * margin
    center, image = np.array([640, 350.0]), read_image(picture)
    matrix = person_matrix(center, np.full(2, side), (size, size), change.rotation, change.flip)
    fine = compose(np.array([[4, 0, 1.5], [0, 4, 1.5]]), matrix)
    wide = cv2.warpAffine(image, fine, (4 * size, 4 * size), flags=cv2.INTER_LINEAR).astype(np.float32)
    true = cv2.resize(wide, (size, size), interpolation=cv2.INTER_AREA)
    plain, reduced = crop(image, matrix, (size, size)), crop(read_image(picture, reduce), matrix, (size, size), reduce)
    inside = crop(np.full_like(image, 255), matrix, (size, size)).min(axis=2) == 255
    errors = [np.abs(made - true)[inside].mean() for made in (plain, reduced)]
    assert errors[1] < limit * errors[0]


def test_reduction_looks_at_the_crop_not_at_the_box(picture):
    """A flat box grows to the crop's aspect ratio first; a magnified crop needs all pixels."""
    matrix = person_matrix(np.zeros(2), np.array([100, 300.0]), (128, 64))  # (100, 300) becomes (600, 300)
    assert reduction(picture, matrix) == 4
    assert reduction(picture, person_matrix(np.zeros(2), np.array([90.0, 90]), (128, 128))) == 1
    udp = person_matrix(np.zeros(2), np.array([512.0, 512]), (128, 128), udp=True)
    assert reduction(picture, udp) == 4


def test_file_cache_gives_the_same_pictures(picture, tmp_path):
    cache = FileCache(tmp_path / "cache")
    for reduce in (1, 4):
        first, second = cache.read(picture, reduce), FileCache(tmp_path / "cache").read(picture, reduce)
        np.testing.assert_array_equal(first, read_image(picture, reduce))
        np.testing.assert_array_equal(second, first)
        assert first.flags.writeable and not second.flags.writeable
    assert len(list(cache.folder.iterdir())) == 2


def test_file_cache_notices_changed_pictures_and_torn_files(picture, tmp_path):
    path, cache = tmp_path / "a.jpg", FileCache(tmp_path / "cache")
    path.write_bytes(picture.read_bytes())
    cache.read(path)
    cv2.imwrite(str(path), grain(1))
    np.testing.assert_array_equal(cache.read(path), read_image(path))
    for cut in (0, 5, 1000):
        for file in cache.folder.iterdir():
            file.write_bytes(file.read_bytes()[:cut])
        np.testing.assert_array_equal(cache.read(path), read_image(path))
        np.testing.assert_array_equal(cache.read(path), read_image(path))


def test_file_cache_errors(picture, tmp_path, caplog):
    with pytest.raises(FileNotFoundError, match="no.jpg: picture not found"):
        FileCache(tmp_path / "cache").read(tmp_path / "no.jpg")
    (tmp_path / "file").write_text("in the way")
    cache = FileCache(tmp_path / "file")
    for _ in range(2):
        np.testing.assert_array_equal(cache.read(picture), read_image(picture))
    assert [record.message.split(":")[0] for record in caplog.records] == [f"cache_dir {tmp_path / 'file'}"]


def test_cached_samples_equal_decoded_ones(picture, tmp_path):
    people = [person(picture, side) for side in (150, 300, 600, 900)]
    options = {"augment": Augmentation(), "fast_decode": True}
    plain, cached = dataset(people, **options), dataset(people, cache_dir=str(tmp_path), **options)
    loader = make_loader(cached, EpochSampler(len(people), 2), workers=2)
    for _ in range(2):  # the first pass fills the cache, the second reads it
        images = torch.cat([batch["image"] for batch in loader])
        assert torch.equal(images, torch.stack([torch.from_numpy(plain[i]["image"]) for i in range(4)]))
    assert any(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (1, 1, 1, 3), (0, 4, 4, 3)])
def test_normalisation_is_the_plain_expression_to_the_bit(shape, device):
    images = torch.randint(0, 256, (shape[0], shape[2], shape[1], 3), dtype=torch.uint8).transpose(1, 2).to(device)
    mean, std = torch.tensor(IMAGENET_MEAN, device=device), torch.tensor(IMAGENET_STD, device=device)
    made = network_input(images)
    assert made.is_contiguous(memory_format=torch.channels_last) and made.dtype == torch.float32
    assert torch.equal(made, ((images[..., [2, 1, 0]].float() - mean) / std).permute(0, 3, 1, 2))
    with torch.inference_mode():
        network_input(images)
    assert not constant((1.0, 2.0), images.device).is_inference()
    assert constant((1, 2), images.device, 2).tolist() == [1.0, 2.0, 1.0, 2.0]


def test_the_measured_pipeline_is_mmposes(mpii_root):
    with np.load(Path(__file__).parent / "data" / "mmpose_images.npz") as data:
        golden = dict(data)
    persons = load_mpii(mpii_root / "test_mpii.json", mpii_root, pixel_origin=1)
    for i, (number, flip, factor, rotation) in enumerate(golden["aug_param"]):
        sample = transform(annotation(persons[int(number)]), (bool(flip), float(factor), float(rotation)), (256, 256))
        np.testing.assert_allclose(sample["transformed_keypoints"][0], golden["aug_kpt"][i], atol=1e-3)
        small = cv2.resize(sample["img"].astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(small, golden["aug_area16"][i], atol=0.5)
        np.testing.assert_allclose(sample["heatmaps"][0, ::5], golden["aug_target_ch0_5_10_15"][i], atol=1e-6)
