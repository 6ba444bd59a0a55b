"""SLEAP's packages and MPII's own file, written here as their tools write them."""

import json

import cv2
import numpy as np
import pytest

from hgfast.data import MPII, AnnotationError, KeypointSet, load_mpii, read_image
from hgfast.data.formats import FORMATS, Source
from hgfast.data.mpii_mat import load_mpii_mat
from hgfast.data.sleap import load_sleap, sleap_keypoints
from tests.own_data import NAMES, beetle
from tests.test_lab_formats import pictures

h5py = pytest.importorskip("h5py")
FRAMES = [
    ("frame_id", "u8"),
    ("video", "u4"),
    ("frame_idx", "u8"),
    ("instance_id_start", "u8"),
    ("instance_id_end", "u8"),
]
INSTANCES = [("instance_id", "i8"), ("instance_type", "u1"), ("frame_id", "u8"), ("skeleton", "u4"), ("track", "i4")]
INSTANCES += [("point_id_start", "u8"), ("point_id_end", "u8")]
POINTS = [("x", "f8"), ("y", "f8"), ("visible", "?"), ("complete", "?")]


def link(source, target, kind):
    return {"source": source, "target": target, "type": kind}


def new(kind):
    return {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [kind]}]}


def metadata():
    """The nodes in another order than they are listed in, a limb in full, one by its number, and a symmetry."""
    order = [4, 0, 1, 2, 3]
    links = [link(4, 3, new(1)), link(3, 0, {"py/id": 1}), link(2, 1, new(2))]
    skeleton = {"graph": {"name": "beetle"}, "links": links, "nodes": [{"id": i} for i in order]}
    return {"nodes": [{"name": name} for name in NAMES], "skeletons": [skeleton]}, [NAMES[i] for i in order]


def package(path, count=3, packed=".png", form=1.4, swap=False, **changes):
    """A package of frames, the second with a prediction as well; the points (count, 5, 2) in the skeleton's order."""
    rng, points, images = np.random.default_rng(4), [], []
    for _ in range(count):
        found, picture = beetle(rng)
        points.append(found)
        images.append(picture)
    info, _ = metadata()
    frames = np.array([(n, 0, 10 + n, n + (n > 1), n + (n > 1) + 1 + (n == 1)) for n in range(count)], FRAMES)
    kinds = [(n, 0) for n in range(2)] + [(1, 1)] + [(n, 0) for n in range(2, count)]
    instances = np.array([(i, kind, n, 0, -1, 5 * n, 5 * n + 5) for i, (n, kind) in enumerate(kinds)], INSTANCES)
    table = np.array([(x, y, True, True) for who in points for x, y in who], POINTS)
    table["visible"][2] = False
    with h5py.File(path, "w") as file:
        file.create_group("metadata").attrs["json"] = np.bytes_(json.dumps(changes.get("metadata", info)))
        file["metadata"].attrs["format_id"] = form
        file["frames"], file["instances"] = changes.get("frames", frames), changes.get("instances", instances)
        file["points"] = changes.get("points", table)
        data = [cv2.imencode(packed, image[..., ::-1] if swap else image)[1].ravel().view(np.int8) for image in images]
        video = file.create_dataset("video0/video", (count,), dtype=h5py.vlen_dtype(np.int8))
        for n, one in enumerate(data):
            video[n] = one
        file["video0/frame_numbers"] = np.arange(10, 10 + count)
    return np.array(points), images


@pytest.mark.parametrize(("form", "swap"), [(1.4, False), (1.3, True), (1.0, True)])
def test_packages(tmp_path, form, swap):
    path = tmp_path / "a.pkg.slp"
    points, images = package(path, form=form, swap=swap)
    table = sleap_keypoints(path)
    assert table.names == ("tail", *NAMES[:4]) and table.skeleton == ((0, 4), (4, 1)) and table.pairs == ((2, 3),)
    persons = load_sleap(path, "", table)
    shift = 0.5 if form == 1.0 else 0
    np.testing.assert_allclose([p.keypoints for p in persons][1:], points[1:] - shift, rtol=1e-5)
    assert persons[0].visible.tolist() == [1, 1, 0, 1, 1] and persons[0].size.tolist() == [96, 72]
    assert [p.image.name for p in persons] == [f"video0_0000{n}.png" for n in (10, 11, 12)]
    assert all((read_image(p.image) == image).all() for p, image in zip(persons, images, strict=True))
    written = persons[0].image.stat().st_mtime_ns
    again = load_sleap(path, tmp_path / "a.pkg.slp.frames", KeypointSet("two", ("belly", "tail")), boxes="keypoints")
    np.testing.assert_allclose(again[1].keypoints, (points[1] - shift)[[4, 0]], rtol=1e-5)
    assert again[0].image.stat().st_mtime_ns == written


def test_files_over_pictures_and_videos(tmp_path):
    points, files = pictures(tmp_path, 3)
    package(tmp_path / "a.slp")
    for names, message in ((files, ""), ("clip.mp4", "a frame of 'clip.mp4', not in this file; let SLEAP export")):
        with h5py.File(tmp_path / "a.slp", "a") as file:
            for name in ("video0", "videos_json"):
                if name in file:
                    del file[name]
            file["videos_json"] = [np.bytes_(json.dumps({"filename": names}))]
            file["frames"][...] = np.array([(n, 0, n, n + (n > 1), n + (n > 1) + 1) for n in range(3)], FRAMES)
        table = sleap_keypoints(tmp_path / "a.slp")
        if message:
            with pytest.raises(AnnotationError, match=message):
                load_sleap(tmp_path / "a.slp", "", table)
        else:
            assert [p.image.name for p in load_sleap(tmp_path / "a.slp", "", table)] == files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": np.array([(0, 0, 10, 0, 9)], FRAMES)}, r"frames\[0\]: field 'instance_id_end' is beyond the 4"),
        (
            {"frames": np.array([(0, 0, 99, 0, 1)], FRAMES)},
            r"frames\[0\]: video0 does not hold the picture of frame 99",
        ),
        (
            {"frames": np.array([(0, 3, 10, 0, 1)], FRAMES)},
            r"frames\[0\]: field 'videos_json' does not describe video 3",
        ),
        ({"points": np.zeros(3, POINTS)}, r"frames\[0\]: instances\[0\] has not the 5 points of the skeleton"),
        ({"points": np.zeros(15, POINTS[:2])}, "table 'points' is missing, or lacks visible"),
        ({"metadata": {}}, "field 'metadata' does not describe a skeleton"),
        ({"metadata": {"nodes": [], "skeletons": [1, 2]}}, "field 'metadata' .*expected one skeleton, got 2"),
    ],
)
def test_damaged_packages(tmp_path, changes, message):
    path = tmp_path / "a.slp"
    package(path, **changes)
    with pytest.raises(AnnotationError, match=f"^{path}: {message}"):
        load_sleap(path, "", sleap_keypoints(path))


def test_other_files(tmp_path):
    (tmp_path / "a.slp").write_bytes(b"nothing")
    with pytest.raises(AnnotationError, match="a.slp: not a file of SLEAP"):
        sleap_keypoints(tmp_path / "a.slp")
    with pytest.raises(FileNotFoundError, match="none.slp"):
        sleap_keypoints(tmp_path / "none.slp")
    package(tmp_path / "a.slp")
    with pytest.raises(AnnotationError, match="a.slp: the skeleton has no node 'wing'"):
        load_sleap(tmp_path / "a.slp", "", KeypointSet("x", ("wing",)))


def structs(entries):
    """MATLAB's array of structures; scipy makes a cell array of a list."""
    array = np.empty((1, len(entries)), [(name, object) for name in entries[0]])
    array[0] = [tuple(entry.values()) for entry in entries]
    return array


def points_of(person):
    return structs(_points(person))


def _points(person):
    return [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(person["joints"]) if person["joints_vis"][k]]


def release(path, people, packed=False, **changes):
    """MPII's release file: one picture without persons, one person alone in a picture, several in another."""
    savemat = pytest.importorskip("scipy.io").savemat
    box = {"x1": 10, "y1": 10, "x2": 40, "y2": 50}
    first, *rest = [
        {"objpos": dict(zip("xy", p["center"], strict=True)), "scale": p["scale"]}
        | {"annopoints": {"point": points_of(p)}} | box | changes
        for p in people
    ]  # fmt: skip
    annolist = [
        {"image": {"name": "none.jpg"}, "annorect": []},
        {"image": {"name": "one.jpg"}, "annorect": first},
        {"image": {"name": "two.jpg"}, "annorect": structs(rest) if rest else []},
    ]
    more = {"img_train": [0, 1, 1], "act": {"cat_name": ["run", "jump"], "code": np.array(["a", 3], object)}}
    savemat(path, {"version": "12", "RELEASE": {"annolist": structs(annolist)} | more}, do_compression=packed)
    return path


def person(seed):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(1, 200, (16, 2))
    seen = [int(k not in (seed, 8)) for k in range(16)]
    joints[[seed, 8]] = -1
    return {"center": [100.5 + seed, 90.0], "scale": 1.5 + seed, "joints": joints.tolist(), "joints_vis": seen}


@pytest.mark.parametrize("packed", [False, True])
def test_the_release_file_gives_what_the_json_gives(tmp_path, packed):
    people = [person(seed) for seed in range(3)]
    path = release(tmp_path / "mpii.mat", people, packed)
    names = ["one.jpg", "two.jpg", "two.jpg"]
    entries = [p | {"image": name, "head_size": 30.0} for p, name in zip(people, names, strict=True)]
    (tmp_path / "mpii.json").write_text(json.dumps(entries))
    source = Source(str(path), str(tmp_path), MPII, "given")
    found, expected = FORMATS["mpii-mat"].read(source), load_mpii(tmp_path / "mpii.json", tmp_path)
    for one, two in zip(found, expected, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": []}, r"field 'scale' is missing"),
        (
            {"annopoints": {"point": {"x": 1, "y": 2, "id": 16}}},
            r"field 'annopoints.point.id'",
        ),
        ({"annopoints": {"point": {"x": 1, "id": 3}}}, r"joint 3 has no x or y"),
        ({"objpos": 3}, r"field 'center'"),
    ],
)
def test_damaged_release_files(tmp_path, changes, message):
    path = release(tmp_path / "a.mat", [person(0), person(1)], **changes)
    with pytest.raises(AnnotationError, match=rf"^{path}: annolist\(2\).annorect\(1\): {message}"):
        load_mpii_mat(path, tmp_path)


def test_no_release_files(tmp_path):
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(tmp_path / "a.mat", {"x": 1})
    with pytest.raises(AnnotationError, match="a.mat: field 'RELEASE' is missing"):
        load_mpii_mat(tmp_path / "a.mat", tmp_path)
    savemat(tmp_path / "a.mat", {"RELEASE": {"x": 1}})
    with pytest.raises(AnnotationError, match="a.mat: field 'RELEASE.annolist' is missing"):
        load_mpii_mat(tmp_path / "a.mat", tmp_path)
    (tmp_path / "a.mat").write_bytes(b"x" * 500)
    with pytest.raises(AnnotationError, match=r"a.mat: not a MATLAB file"):
        load_mpii_mat(tmp_path / "a.mat", tmp_path)
    with pytest.raises(FileNotFoundError):
        load_mpii_mat(tmp_path / "none.mat", tmp_path)
