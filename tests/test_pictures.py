"""Reading pictures: every form and size of file, damaged ones, and the geometry of JPEGs decoded at reduced scale."""

import os
import struct

import cv2
import numpy as np
import pytest

from hgfast.data import MPII, Person, PoseDataset, crop, person_matrix, read_image
from hgfast.data.cache import FileCache
from hgfast.data.header import read_header
from hgfast.data.images import MAX_SIDE, reduced_origin

ORIENTATIONS = range(1, 9)


def scene(width, height):
    """Smooth colours, whose crops show a shift of a hundredth of a pixel."""
    small = np.random.default_rng(0).integers(0, 255, (7, 9, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(image, orientation=1, order=">"):
    """A JPEG file with EXIF's orientation."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    mark = b"MM" if order == ">" else b"II"
    exif = b"Exif\0\0" + mark + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 0x112, 3, 1, orientation, 0, 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def marked(width, height):
    """A picture with a blurred spot, and where its middle is."""
    image = np.zeros((height, width), np.float32)
    spot = (0.37 * width, 0.61 * height)
    y, x = np.mgrid[:height, :width]
    image = 250 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 40**2))
    return np.repeat(image[..., None], 3, 2).astype(np.uint8), spot


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("width", "height"), [(1601, 1201), (1607, 1205)])
def test_crops_of_reduced_pictures_lie_where_those_of_whole_ones_do(tmp_path, orientation, width, height):
    image, _ = marked(width, height)
    path = write(tmp_path, "a.jpg", jpeg(image, orientation))
    shown = read_image(path)
    size = np.array(shown.shape[1::-1], np.float32)
    person = Person(path, size / 2, size, np.zeros((16, 2), np.float32), np.ones(16, np.float32))
    places = []
    for fast in (False, True):
        dataset = PoseDataset([person], MPII, (192, 192), fast_decode=fast)
        weight = dataset[0]["image"][..., 0].astype(float)
        weight[weight < 8] = 0
        grid = np.meshgrid(np.arange(192), np.arange(192))
        places.append([(weight * axis).sum() / weight.sum() for axis in grid])
    assert np.abs(np.subtract(*places)).max() < 0.05
    assert all(-8 < x <= 0 for x in reduced_origin(path, 8))


def test_orientation_is_read_as_opencv_reads_it(tmp_path):
    for order in "<>":
        for orientation in (*ORIENTATIONS, 0, 9, 77):
            data = jpeg(scene(40, 24), orientation, order)
            header, image = read_header(data), read_image(write(tmp_path, "a.jpg", data))
            assert header.shown() == image.shape[1::-1]
            x, y = header.mirrored()
            plain = read_image(write(tmp_path, "b.jpg", jpeg(scene(40, 24))))
            plain = plain.transpose(1, 0, 2) if header.orientation >= 5 else plain
            np.testing.assert_array_equal(image, plain[:: -1 if y else 1, :: -1 if x else 1])


@pytest.mark.parametrize("reduce", [2, 4, 8])
def test_whatever_is_named_like_a_jpeg_is_reduced_to_blocks(tmp_path, reduce):
    image = scene(101, 67)
    path = write(tmp_path, "a.jpg", cv2.imencode(".png", image)[1].tobytes())
    found = read_image(path, reduce)
    assert found.shape == (-(-67 // reduce), -(-101 // reduce), 3) and reduced_origin(path, reduce) == (0, 0)
    mean = image[:reduce, :reduce].mean((0, 1))
    np.testing.assert_allclose(found[0, 0], mean, atol=1)
    thin = write(tmp_path, "b.jpg", cv2.imencode(".png", image[:1])[1].tobytes())
    assert read_image(thin, reduce).shape[0] == 1


FORMATS = ["jpg", "png", "bmp", "webp", "tif", "ppm", "pgm", "gif", "jp2", "avif", "sr", "pam", "pfm", "hdr"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["colour", "grey", "alpha", "16 bit"])
def test_every_format_is_read_as_opencv_reads_files(tmp_path, form, kind):
    image = scene(65, 43)
    image = {
        "colour": image, "grey": image[..., 0].copy(), "alpha": np.dstack([image, image[..., :1]]),
        "16 bit": image.astype(np.uint16) * 257,
    }[kind]  # fmt: skip
    if form in ("pfm", "hdr"):
        image = image.astype(np.float32) / 255
    path = tmp_path / f"a.{form}"
    try:
        assert cv2.haveImageWriter(str(path)) and cv2.imwrite(str(path), image)
    except (cv2.error, AssertionError):
        pytest.skip(f"OpenCV cannot write {kind} {form}")
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if expected is None and form == "pam":
        pytest.skip(f"OpenCV cannot read {kind} {form}")
    found = read_image(path)
    assert found.dtype == np.uint8 and found.shape == (43, 65, 3)
    if expected is not None:  # grey PFM files are only read from memory
        np.testing.assert_array_equal(found, expected)
    header = read_header(path.read_bytes())
    assert (header.width, header.height) == (65, 43) and header.fits(path.stat().st_size)


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_that_was_cut_off_is_read_as_opencv_reads_files(tmp_path, progressive):
    data = cv2.imencode(".jpg", scene(320, 240), [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    readable = 0
    for length in [*range(2, 700, 13), *range(700, len(data), 197), len(data) - 1]:
        path = write(tmp_path, "a.jpg", data[:length])
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if expected is None:
            with pytest.raises(ValueError, match="a.jpg: not a picture that OpenCV can read"):
                read_image(path)
        else:
            readable += 1
            np.testing.assert_array_equal(read_image(path), expected)
    assert readable > 10


def test_names_that_are_no_utf8_are_read_and_kept(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"b\xfcld.png")
    image = scene(30, 20)
    with open(path, "wb") as file:
        file.write(cv2.imencode(".png", image)[1].tobytes())
    name = os.fsdecode(path)
    for read in (read_image, FileCache(tmp_path / "cache").read, FileCache(tmp_path / "cache").read):
        np.testing.assert_array_equal(read(name), image)


def resized(data, place, form, width, height):
    """The file with another size in its header."""
    return data[:place] + struct.pack(form, width, height) + data[place + struct.calcsize(form) :]


@pytest.mark.parametrize(
    ("form", "place", "numbers"),
    [("png", 16, ">II"), ("bmp", 18, "<ii"), ("gif", 6, "<HH"), ("tif", None, ""), ("jpg", None, ""), ("sr", 4, ">II")],
)
def test_damaged_headers_are_refused_before_memory_is_taken(tmp_path, form, place, numbers):
    data = cv2.imencode(f".{form}", scene(64, 48))[1].tobytes()
    if form == "jpg":
        place, numbers = data.index(b"\xff\xc0") + 5, ">HH"
    if form == "tif":
        data = data.replace(struct.pack("<HHII", 256, 3, 1, 64), struct.pack("<HHII", 256, 4, 1, 20_000))
        data = data.replace(struct.pack("<HHII", 257, 3, 1, 48), struct.pack("<HHII", 257, 4, 1, 30_000))
    else:
        data = resized(data, place, numbers, 20_000, 30_000)
    words = (
        rf"a.{form}: a damaged picture: it announces more than a file of {len(data)} bytes holds .[23]0000 x [23]0000"
    )
    with pytest.raises(ValueError, match=words):
        read_image(write(tmp_path, f"a.{form}", data))


def test_a_damaged_length_of_a_png_chunk_takes_no_memory(tmp_path):
    data = cv2.imencode(".png", scene(64, 48))[1].tobytes()
    place = data.index(b"IDAT") - 4
    data = data[:place] + struct.pack(">I", 0x79002000) + data[place + 4 :]
    with pytest.raises(ValueError, match="a.png: a damaged picture: it announces more than"):
        read_image(write(tmp_path, "a.png", data))


def test_a_damaged_big_tiff_is_named(tmp_path):
    data = b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(64)
    with pytest.raises(ValueError, match="a.tif: not a picture"):
        read_image(write(tmp_path, "a.tif", data))


@pytest.mark.parametrize(("width", "height"), [(33_000, 2), (2, 33_000)])
@pytest.mark.parametrize("form", ["png", "jpg"])
def test_pictures_too_long_for_opencv_are_named(tmp_path, width, height, form):
    image = np.zeros((height, width, 3), np.uint8)
    path = write(tmp_path, f"a.{form}", cv2.imencode(f".{form}", image)[1].tobytes())
    with pytest.raises(ValueError, match=f"a.{form}: the picture is {width} x {height} pixels; at most {MAX_SIDE}"):
        read_image(path)
    with pytest.raises(ValueError, match=f"image is {width} x {height} pixels; at most {MAX_SIDE}"):
        crop(image, np.eye(2, 3), (64, 64))


def test_the_longest_picture_is_cropped(tmp_path):
    image = np.zeros((3, MAX_SIDE, 3), np.uint8)
    image[:, -9:] = 200
    path = write(tmp_path, "a.png", cv2.imencode(".png", image)[1].tobytes())
    matrix = person_matrix(np.float32([MAX_SIDE - 4, 1]), np.float32([4, 4]), (8, 8))
    assert (crop(read_image(path), matrix, (8, 8))[4, 2:6] == 200).all()


def test_a_box_without_extent_shows_one_point():
    image = scene(60, 40)
    matrix = person_matrix(np.float32([30, 20]), np.float32([0, 0]), (8, 8))
    assert (np.abs(crop(image, matrix, (8, 8)).astype(int) - image[20, 30]) <= 1).all()
    wide = person_matrix(np.float32([30, 20]), np.float32([0, 16]), (8, 8))
    np.testing.assert_allclose(wide, person_matrix(np.float32([30, 20]), np.float32([16, 16]), (8, 8)))


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8" + b"\xff" * 300_000, b"P6 ", b"BM", b"II*\0"])
def test_what_is_no_picture_is_named(tmp_path, data):
    path = write(tmp_path, "a.jpg", data)
    with pytest.raises(ValueError, match="a.jpg: not a picture that OpenCV can read"):
        read_image(path)
    assert reduced_origin(path, 2) == (0, 0)
