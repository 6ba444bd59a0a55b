"""Tables of DeepLabCut and Lightning Pose: what is read, and what is wrong with files that are not."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hgfast.data import AnnotationError, KeypointSet, load_coco
from hgfast.data.deeplabcut import deeplabcut_keypoints, load_deeplabcut
from hgfast.data.formats import FORMATS, Source
from hgfast.data.images import picture_size
from tests.own_data import NAMES, SIZE, beetle, write_beetles

BEETLE = KeypointSet("own", tuple(NAMES), ((1, 2),))
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def table_of(points, files, index=1, individuals=("",), likelihood=False):
    """Rows of a table of labels; points (N, individuals, 5, 2)."""
    places = ["x", "y", "likelihood"] if likelihood else ["x", "y"]
    columns = [(who, name, place) for who in individuals for name in NAMES for place in places]
    blank = [""] * (index - 1)
    header = [["scorer", *blank, *["me"] * len(columns)]]
    header += [["individuals", *blank, *(who for who, _, _ in columns)]] if individuals != ("",) else []
    header += [
        ["bodyparts", *blank, *(name for _, name, _ in columns)],
        ["coords", *blank, *(p for _, _, p in columns)],
    ]
    rows = []
    for file, frame in zip(files, points, strict=True):
        cells = [v for who in frame for x, y in who for v in ((x, y, 0.9) if likelihood else (x, y))]
        name = file.split("/") if index > 1 else [file]
        rows.append([*name, *("" if np.isnan(v) else repr(float(v)) for v in cells)])
    return [*header, *rows]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def pictures(folder, count, seed=0):
    """Points (count, 5, 2) and names of pictures."""
    rng, points, folder = np.random.default_rng(seed), [], Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        found, picture = beetle(rng)
        cv2.imwrite(str(folder / f"img{number:04}.png"), picture)
        points.append(found)
    return np.array(points), [f"img{number:04}.png" for number in range(count)]


def project(folder, index=1, slash="/"):
    """A DeepLabCut project of two videos; the points (5, 5, 2) in the files' order."""
    everything = []
    for video, count in (("a", 3), ("b", 2)):
        points, files = pictures(folder / "labeled-data" / video, count, count)
        names = [slash.join(["labeled-data", video, file]) for file in files]
        write(folder / "labeled-data" / video / "CollectedData_me.csv", table_of(points[:, None], names, index))
        everything.append(points)
    (folder / "config.yaml").write_text("Task: x\nskeleton:\n- - head\n  - belly\n- - tail\n  - nose\nalpha: 0.7\n")
    return np.concatenate(everything)


@pytest.mark.parametrize(("index", "slash"), [(1, "/"), (1, "\\"), (3, "/")])
def test_deeplabcut_projects(tmp_path, index, slash):
    points = project(tmp_path, index, slash)
    table = deeplabcut_keypoints(tmp_path)
    assert table.names == tuple(NAMES) and table.pairs == ((1, 2),)
    persons = load_deeplabcut(tmp_path, "", table)
    np.testing.assert_allclose([person.keypoints for person in persons], points, rtol=1e-6)
    assert [person.image.relative_to(tmp_path).as_posix() for person in persons][::3] == [
        "labeled-data/a/img0000.png", "labeled-data/b/img0000.png",
    ]  # fmt: skip
    first = persons[0]
    assert first.center.tolist() == [48, 36] and first.size.tolist() == [96, 72] and (first.visible == 1).all()
    extent = np.ptp(points[0], axis=0)
    assert first.extent == pytest.approx(extent.max()) and first.area == pytest.approx(extent.prod())
    single = load_deeplabcut(tmp_path / "labeled-data" / "b" / "CollectedData_me.csv", "", table)
    assert [person.image for person in single] == [person.image for person in persons[3:]]


def test_skeletons_of_projects(tmp_path):
    pytest.importorskip("yaml")
    project(tmp_path)
    assert deeplabcut_keypoints(tmp_path).skeleton == ((0, 3),)  # no "nose" among the body parts
    (tmp_path / "config.yaml").write_text("skeleton: [")
    with pytest.raises(AnnotationError, match="config.yaml: not a YAML file"):
        deeplabcut_keypoints(tmp_path)


def test_moved_projects_and_chosen_body_parts(tmp_path):
    project(tmp_path / "old")
    (tmp_path / "old" / "labeled-data" / "a").rename(tmp_path / "old" / "labeled-data" / "c")
    table = KeypointSet("two", ("tail", "head"))
    persons = load_deeplabcut(tmp_path / "old", "", table, boxes="keypoints")
    assert {person.image.parent.name for person in persons} == {"b", "c"}
    tail, head = persons[0].keypoints
    assert persons[0].center == pytest.approx((tail + head) / 2, abs=1e-3)
    assert (persons[0].size >= 0.1 * 96 - 1e-4).all()
    with pytest.raises(AnnotationError, match=r"CollectedData_me.csv: body part 'nose' is missing"):
        load_deeplabcut(tmp_path / "old", "", KeypointSet("x", ("nose",)))


def test_lightning_pose_tables(tmp_path):
    points, files = pictures(tmp_path / "labeled-data", 3)
    points[1, 2] = np.nan
    points[2] = np.nan
    rows = table_of(points[:, None], [f"labeled-data/{file}" for file in files], likelihood=True)
    write(tmp_path / "CollectedData.csv", rows)
    persons = load_deeplabcut(tmp_path, "", BEETLE)
    assert len(persons) == 2  # nothing is labelled in the third
    assert persons[1].visible.tolist() == [1, 1, 0, 1, 1] and np.isfinite(persons[1].keypoints).all()


def test_several_individuals(tmp_path):
    points, files = pictures(tmp_path, 4)
    both = np.stack([points[:2], points[2:]], axis=1)
    both[1, 1] = np.nan
    path = write(tmp_path / "t.csv", table_of(both, files[:2], individuals=("ant", "bee")))
    persons = load_deeplabcut(path, tmp_path, BEETLE, boxes="keypoints")
    assert [person.ident for person in persons] == [(0, 0), (0, 1), (1, 2)]
    np.testing.assert_allclose(persons[1].keypoints, points[2], rtol=1e-6)


def changed(rows, row, column, value):
    rows = [list(line) for line in rows]
    rows[row - 1][column - 1] = value
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((4, 3, "x7"), "row 4: 'head' y: expected a number, got 'x7'"),
        ((5, 2, "inf"), "row 5: 'head' x: expected a number, got 'inf'"),
        ((5, 2, ""), "row 5: 'head' has only one of x and y"),
        ((5, 2, "nan"), "row 5: 'head' has only one of x and y"),
        ((4, 5, "-30"), r"row 4: 'left_wing' lies at \(.*, -30\), outside of the picture of 96 x 72"),
        ((5, 1, "img0000.png"), "row 5: the picture 'img0000.png' stands in row 4, too"),
        ((5, 1, "none.png"), "row 5: the picture .*none.png is not there"),
        ((5, 1, "../a.png"), "row 5: field 'picture' names a file outside"),
        ((4, 1, ""), "row 4: field 'picture' is missing"),
        ((4, 1, "broken.png"), "row 4: .*broken.png: not a picture"),
        ((2, 4, "head"), "rows 2 and 3: body part 'head' comes twice with 'x'"),
        ((3, 3, "z"), "rows 2 and 3: body part 'head' has no column 'y'"),
        ((1, 1, "who"), "rows 1 to 4: expected a first column of scorer"),
    ],
)
def test_what_is_wrong_is_named_by_file_row_and_column(tmp_path, change, message):
    points, files = pictures(tmp_path, 2)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    path = write(tmp_path / "t.csv", changed(table_of(points[:, None], files), *change))
    with pytest.raises(AnnotationError, match=f"^{path}: {message}"):
        load_deeplabcut(path, tmp_path, BEETLE)


def test_points_outside_may_be_hidden_or_kept(tmp_path):
    points, files = pictures(tmp_path, 1)
    points[0, 4] = (30, 80)
    path = write(tmp_path / "t.csv", table_of(points[:, None], files))
    assert load_deeplabcut(path, tmp_path, BEETLE, outside="hide")[0].visible.tolist() == [1, 1, 1, 1, 0]
    assert load_deeplabcut(path, tmp_path, BEETLE, outside="keep")[0].keypoints[4].tolist() == [30, 80]
    for name, value in (("outside", "drop"), ("boxes", "given")):
        with pytest.raises(ValueError, match=f"^{name} must be one of"):
            load_deeplabcut(path, tmp_path, BEETLE, **{name: value})


def test_folders_without_tables_and_tables_that_differ(tmp_path):
    with pytest.raises(FileNotFoundError, match="no labeled-data"):
        deeplabcut_keypoints(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none.csv: annotation file not found"):
        deeplabcut_keypoints(tmp_path / "none.csv")
    project(tmp_path)
    other = tmp_path / "labeled-data" / "b" / "CollectedData_me.csv"
    other.write_text(other.read_text().replace("belly", "bauch"))
    with pytest.raises(AnnotationError, match="b.CollectedData_me.csv: other body parts than in .*: bauch"):
        deeplabcut_keypoints(tmp_path)
    (tmp_path / "picture.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(AnnotationError, match="picture.csv: "):
        deeplabcut_keypoints(tmp_path / "picture.csv")


@pytest.mark.parametrize("boxes", ["picture", "keypoints"])
def test_coco_files_without_boxes(tmp_path, boxes):
    path = write_beetles(tmp_path, 2)
    path.write_text(path.read_text().replace('"bbox"', '"no_box"'))
    with pytest.raises(AnnotationError, match="field 'bbox' is missing .boxes = \"keypoints\" needs none"):
        load_coco(path, tmp_path / "images", BEETLE)
    first, _ = load_coco(path, tmp_path / "images", BEETLE, boxes)
    extent = np.ptp(first.keypoints, axis=0)
    assert first.size.tolist() == pytest.approx(list(SIZE) if boxes == "picture" else extent.tolist())
    assert first.extent == pytest.approx(extent.max())


def test_coco_files_with_points_outside_and_missing_pictures(tmp_path):
    path = write_beetles(tmp_path, 2)
    content = json.loads(path.read_text())
    content["annotations"][1]["keypoints"][:2] = [10, 72.5]
    path.write_text(json.dumps(content))
    source = Source(str(path), str(tmp_path / "images"), BEETLE, "given")
    with pytest.raises(AnnotationError, match=r"annotations\[1\]: 'head' lies at .10, 72.5., outside of the picture"):
        FORMATS["coco"].read(source)
    hidden = FORMATS["coco"].read(replace(source, outside="hide"))
    assert hidden[1].visible.tolist() == [0, 1, 1, 1, 1]
    assert FORMATS["coco"].read(replace(source, outside="keep"))[1].visible.all()
    (tmp_path / "images" / "beetles_002.png").unlink()
    with pytest.raises(AnnotationError, match="beetles.json: the picture .*beetles_002.png is not there"):
        FORMATS["coco"].read(replace(source, outside="hide"))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".ppm"])
def test_sizes_of_pictures(tmp_path, ending):
    cv2.imwrite(str(tmp_path / f"a{ending}"), np.zeros((20, 30, 3), np.uint8))
    assert picture_size(tmp_path / f"a{ending}") == (30, 20)


@pytest.mark.parametrize(("name", "count", "joints"), [("openfield-mouse", 116, 4), ("mirror-mouse", 90, 17)])
def test_real_sets(name, count, joints):
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip("the labelled mice are not here")
    table = deeplabcut_keypoints(folder)
    persons = load_deeplabcut(folder, "", table)
    assert (len(persons), table.count) == (count, joints)
    assert (table.pairs is None) == (name == "mirror-mouse")
