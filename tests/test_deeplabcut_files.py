"""DeepLabCut's HDF5 files are read without pandas, and its tables of predictions written as its users read them."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from hgfast.cli import main
from hgfast.data import AnnotationError, KeypointSet, Person, PoseDataset
from hgfast.data.deeplabcut import load_deeplabcut, tables_of
from hgfast.data.label_h5 import read_h5
from hgfast.data.label_table import read_csv
from hgfast.deeplabcut_results import write_deeplabcut
from hgfast.results import write_results
from tests.test_lab_formats import BEETLE, project, table_of, write
from tests.test_own_keypoints import beetles, run  # noqa: F401 - fixtures

h5py = pytest.importorskip("h5py")
pandas = pytest.importorskip("pandas")
pytest.importorskip("tables")
RNG = np.random.default_rng(0)


def as_h5(path, form):
    """What DeepLabCut writes beside a CSV."""
    rows = read_csv(path)
    levels = 4 if rows.individuals != [""] else 3
    frame = pandas.read_csv(path, header=list(range(levels)), index_col=0)
    if form == "levels":
        frame.index = pandas.MultiIndex.from_tuples([tuple(name.split("/")) for name in rows.pictures])
    target = path.with_suffix(".h5")
    frame.to_hdf(target, key="df_with_missing", mode="w", format="fixed" if form == "levels" else form)
    return target


@pytest.mark.parametrize("form", ["fixed", "table", "levels"])
@pytest.mark.parametrize("individuals", [("",), ("ant", "bee")])
def test_hdf5_is_the_csv(tmp_path, form, individuals):
    points = RNG.uniform(5, 60, (4, len(individuals), 5, 2))
    points[1, 0, 2] = np.nan
    names = [f"labeled-data/a/{n}.png" for n in range(4)]
    path = write(tmp_path / "CollectedData_me.csv", table_of(points, names, 1, individuals))
    one, two = read_csv(path), read_h5(as_h5(path, form))
    assert (one.parts, one.pictures, one.rows) == (two.parts, two.pictures, two.rows)
    np.testing.assert_array_equal(one.points, two.points)


def test_projects_without_csv(tmp_path):
    points = project(tmp_path)
    for file in tables_of(tmp_path):
        as_h5(file, "fixed")
    assert all(file.suffix == ".csv" for file in tables_of(tmp_path))
    for file in tables_of(tmp_path):
        file.unlink()
    persons = load_deeplabcut(tmp_path, "", BEETLE)
    np.testing.assert_allclose([person.keypoints for person in persons], points, rtol=1e-6)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


def test_nothing_in_a_file_runs_and_damage_is_said(tmp_path):
    path = write(tmp_path / "a.csv", table_of(RNG.uniform(5, 60, (2, 1, 5, 2)), ["1.png", "2.png"]))
    bad = as_h5(path, "table")
    with h5py.File(bad, "a") as file:
        file["df_with_missing"].attrs["non_index_axes"] = np.bytes_(pickle.dumps(Evil(), 0))
    with pytest.raises(AnnotationError, match="a.h5: not a table of pandas .*it asks for .*exec"):
        read_h5(bad)
    for value, message in ((np.inf, "not a number of pixels"), (np.nan, "has only one of x and y")):
        bad = as_h5(path, "fixed")
        with h5py.File(bad, "a") as file:
            file["df_with_missing/block0_values"][1, 3] = value
        with pytest.raises(AnnotationError, match=f"a.h5: row 5: 'left_wing':? {message}"):
            read_h5(bad)
    bad.write_bytes(b"nothing")
    with pytest.raises(AnnotationError, match="a.h5: not a table of pandas"):
        read_h5(bad)
    with pytest.raises(FileNotFoundError):
        read_h5(tmp_path / "none.h5")


@pytest.mark.parametrize("ending", [".csv", ".h5"])
@pytest.mark.parametrize("several", [1, 2])
def test_predictions_in_deeplabcuts_shape(tmp_path, ending, several):
    points, scores = RNG.uniform(0, 90, (3, several, 4, 2)), RNG.uniform(-0.2, 1.2, (3, several, 4))
    points[2, -1] = scores[2, -1] = np.nan
    names, path = ["nose", "ear", "paw", "tail"], tmp_path / f"clip{ending}"
    write_deeplabcut(path, range(3), names, points, scores, scorer="net")
    levels = 4 if several > 1 else 3
    if ending == ".h5":
        found = pandas.read_hdf(path)
    else:
        found = pandas.read_csv(path, header=list(range(levels)), index_col=0)
    titles = ["scorer", "individuals", "bodyparts", "coords"]
    assert list(found.columns.names) == (titles if several > 1 else [titles[0], *titles[2:]])
    assert found.index.tolist() == [0, 1, 2] and set(found.columns.get_level_values("scorer")) == {"net"}
    expected = np.concatenate([points, scores.clip(0, 1)[..., None]], axis=3).reshape(3, -1)
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-8)
    if several > 1:
        assert found["net"]["individual2"]["ear"]["x"][0] == pytest.approx(points[0, 1, 1, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "a.txt"}, "a.txt: expected a name that ends in one of .csv, .h5"),
        ({"keypoints": np.zeros((2, 4, 2))}, "write_deeplabcut: keypoints must"),
        ({"scores": np.zeros((2, 1, 3))}, "write_deeplabcut: scores must have shape"),
        ({"names": 3}, "write_deeplabcut: names must"),
        ({"index": 2}, "write_deeplabcut: index must"),
        ({"scorer": None}, "write_deeplabcut: scorer must"),
    ],
)
def test_arguments_are_checked(change, message):
    good = {"path": "a.csv", "index": [0, 1], "names": list("abcd"), "keypoints": np.zeros((2, 1, 4, 2))}
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        write_deeplabcut(**good | {"scores": np.zeros((2, 1, 4))} | change)
    assert not Path("a.csv").exists()


def test_evaluation_writes_all_forms(run, tmp_path):  # noqa: F811
    trainer, _ = run
    files = {suffix: tmp_path / f"a{suffix}" for suffix in (".dlc.csv", ".h5", ".coco.json", ".mmpose.json", ".json")}
    out = [text for file in files.values() for text in ("--out", str(file))]
    assert main(["eval", str(trainer.folder / "best.pt"), *out, "--quiet"]) == 0
    table = read_csv(files[".dlc.csv"])
    assert table.names == list(trainer.config.table.names) and table.pictures == [f"val_00{n}.png" for n in range(1, 5)]
    np.testing.assert_allclose(read_h5(files[".h5"]).points, table.points, rtol=1e-6)
    persons = json.loads(files[".json"].read_text())["persons"]
    np.testing.assert_allclose([p["keypoints"] for p in persons], table.points, atol=1e-3)
    theirs = json.loads(files[".mmpose.json"].read_text())
    frames = theirs["instance_info"]
    assert [(f["frame_id"], f["image"]) for f in frames] == list(enumerate(table.pictures))
    assert [f["instances"][0]["keypoints"] for f in frames] == [p["keypoints"] for p in persons]
    meta = theirs["meta_info"]
    assert meta["keypoint_id2name"]["1"] == "left_wing" and meta["flip_pairs"] == [["left_wing", "right_wing"]]
    assert meta["flip_indices"] == [0, 2, 1, 3, 4] and meta["skeleton_links"][0] == [0, 3]
    entries = json.loads(files[".coco.json"].read_text())
    assert [e["image_id"] for e in entries] == [1, 2, 3, 4] and {e["category_id"] for e in entries} == {3}
    np.testing.assert_allclose(np.reshape(entries[0]["keypoints"], (5, 3))[:, :2], table.points[0], atol=1e-3)


def test_pictures_with_several_persons_are_one_row(tmp_path):
    box = np.ones(2, np.float32)
    images = [tmp_path / name for name in ("b.png", "a.png", "b.png")]
    persons = [Person(image, box, box, np.zeros((1, 2)), np.ones(1)) for image in images]
    dataset = PoseDataset(persons, KeypointSet("one", ("x",)), (8, 8))
    points = np.arange(6.0).reshape(3, 1, 2)
    write_results(tmp_path / "p.dlc.csv", dataset, points, np.ones((3, 1)), {})
    table = read_csv(tmp_path / "p.dlc.csv")
    assert table.pictures == ["b.png", "a.png"] and table.individuals == ["individual1", "individual2"]
    np.testing.assert_array_equal(table.points, [[[0, 1], [4, 5]], [[2, 3], [np.nan, np.nan]]])
