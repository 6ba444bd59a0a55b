"""Keypoints of one's own: from COCO's categories, a TOML file or a table, through training, measures, drawing."""

import json

import numpy as np
import pytest

from hgfast.checkpoint import read_checkpoint
from hgfast.cli import main
from hgfast.data import (
    COCO,
    HAND,
    MPII,
    AnnotationError,
    KeypointSet,
    PoseDataset,
    coco_keypoints,
    load_coco,
    read_image,
)
from hgfast.data.augment import Change
from hgfast.data.sides import pairs_by_name
from hgfast.metrics import oks_ap, pixel_errors
from hgfast.predict import Predictor
from hgfast.train import ConfigError, Trainer, preset
from hgfast.train.build import make_codec, make_model
from hgfast.train.config import Config, apply, read_toml, to_toml
from hgfast.train.measures import OWN_MEASURES, measure
from hgfast.train.own import complete
from hgfast.train.state import stored_config
from hgfast.viz import draw_people
from tests.own_data import NAMES, SIZE, beetle, write_beetles
from tests.test_train import SMALL

BEETLE = KeypointSet("beetle", tuple(NAMES), ((1, 2),), ((0, 3), (1, 3), (2, 3), (3, 4)))


@pytest.fixture(scope="module")
def beetles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beetles")
    write_beetles(folder, 12, 1, "train"), write_beetles(folder, 4, 2, "val")
    return folder


def settings(folder, output, **more):
    paths = {f"{part}_annotations": str(folder / f"{part}.json") for part in ("train", "val")}
    paths |= {f"{part}_images": str(folder / "images") for part in ("train", "val")}
    own = {"format": "coco", "keypoints": "auto", "output": str(output), "epochs": 1}
    return apply(preset("demo"), SMALL | paths | own | more)


@pytest.fixture(scope="module")
def run(beetles, tmp_path_factory):
    """A run with keypoints out of the categories, and what it said."""
    said = []
    trainer = Trainer(settings(beetles, tmp_path_factory.mktemp("run") / "run"), quiet=True, say=said.append)
    trainer.fit()
    return trainer, said


def test_categories_describe_the_keypoints(beetles):
    assert coco_keypoints(beetles / "train.json") == BEETLE
    assert BEETLE.sigmas == (0.1,) * 5 and BEETLE.flip_indices == (0, 2, 1, 3, 4)
    assert BEETLE.sides == ("middle", "left", "right", "middle", "middle")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"keypoints": list(COCO.names), "name": "whatever"}, COCO),
        ({"skeleton": [[0, 3], [1, 3], [2, 3], [3, 4]]}, BEETLE),
        ({"sigmas": [0.1] * 5}, BEETLE),
        ({"keypoints": ["a", "b"], "skeleton": []}, KeypointSet("beetle", ("a", "b"))),
    ],
)
def test_what_categories_may_say(tmp_path, entry, expected):
    assert coco_keypoints(write_beetles(tmp_path, 0, **entry)) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"keypoints": ["a", "b", "a"], "skeleton": []}, r"categories\[0\]: names must be unlike each other.*'a'"),
        ({"skeleton": [[1, 9]]}, r"categories\[0\]: skeleton\[0\]\[1\] must be at most 4, got 8"),
        ({"keypoints": 5}, r"categories\[0\]: names must be a list"),
        ({"keypoints": []}, "field 'categories': none has names of 'keypoints'"),
        ({"sigmas": [0.1]}, r"categories\[0\]: sigmas must have shape \(5\)"),
    ],
)
def test_broken_categories_are_named(tmp_path, entry, message):
    with pytest.raises(AnnotationError, match=f"beetles.json: {message}"):
        coco_keypoints(write_beetles(tmp_path, 0, **entry))


def test_categories_with_different_keypoints_are_refused(tmp_path):
    path = write_beetles(tmp_path, 0)
    content = json.loads(path.read_text())
    content["categories"].append({"id": 4, "name": "ant", "keypoints": ["x"]})
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="'beetle' and 'ant' have different keypoints"):
        coco_keypoints(path)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["snout", "leftear", "rightear"], ((1, 2),)),
        (["Ear_R", "nose", "Ear_L"], ((0, 2),)),
        (["earLeft", "earRight", "l.paw", "r.paw"], ((0, 1), (2, 3))),
        (["nose", "left_ear"], None),  # no partner
        (["bright", "left_ear", "right_ear"], None),  # what "bleft" would be
        (["paw1LH", "paw2LF"], None),
    ],
)
def test_mirror_pairs_by_name(names, pairs):
    assert pairs_by_name(names) == pairs


SIDED = KeypointSet("x", ("left", "right"), None, (), (0.2, 0.1), (1,), (0, 1))


@pytest.mark.parametrize("table", [BEETLE, MPII, HAND, SIDED])
def test_tables_are_the_same_after_toml(tmp_path, table):
    assert KeypointSet.from_table(table.to_table()) == table
    (tmp_path / "a.toml").write_text(to_toml(Config(format="coco", keypoints=table.to_table(), monitor="AP")))
    again = apply(Config(), read_toml(tmp_path / "a.toml"))
    assert again.table == table
    assert again.keypoints == (table.name if table in (MPII, HAND) else table.to_table())


def test_a_toml_file_describes_keypoints(tmp_path):
    path = tmp_path / "mouse.toml"
    path.write_text(
        'names = ["nose", "left", "right"]\nsigmas = 0.05\nunit = ["nose", 1]\nskeleton = [["nose", "left"]]'
    )
    found = complete(Config(format="coco", keypoints=str(path)))
    assert found.table == KeypointSet("mouse", ("nose", "left", "right"), ((1, 2),), ((0, 1),), (0.05,) * 3, (), (0, 1))
    assert found.monitor == "RMSE" and found.lower_is_better
    changed = apply(found, {"keypoints": {"mirror": False, "pairs": []}})
    assert changed.table.pairs is None and changed.table.names == found.table.names
    assert apply(found, {"keypoints": {"names": ["a"]}}).table == KeypointSet("own", ("a",))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "keypoints: names must be a list of at least one text"),
        ({"names": ["a"], "colour": 1}, "keypoints: entry must be one of 'name', .*got 'colour'"),
        ({"names": ["a", "b"], "pairs": [["a", "c"]]}, r"keypoints: pairs\[0\]: 'c' is none of the names"),
        ({"names": ["a", "b"], "pairs": [["a", "b"], ["a", "b"]]}, "keypoints: pairs must have each joint once"),
        ({"names": ["a", "b"], "pairs": [["a"]]}, r"keypoints: pairs\[0\] must have 2 entries"),
        ({"names": ["a", "b"], "unit": ["a", "a"]}, "keypoints: unit must be two joints"),
        ({"names": ["a"], "sigmas": -1.0}, "keypoints: sigmas must be positive"),
        ({"names": ["a"], "sigmas": "x"}, "keypoints: sigmas must"),
        ("mouse", "keypoints must be one of mpii, coco, face, hand, auto, a .toml file, or a table; got 'mouse'"),
        (3, "keypoints must be a text"),
    ],
)
def test_broken_tables_are_named(table, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        Config(format="coco", keypoints=table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "dlc"}, "format must be one of 'mpii', 'coco', .*'deeplabcut', .*got 'dlc'"),
        ({"format": "mpii", "boxes": "picture"}, r"boxes \(of format 'mpii'\) must be one of 'auto', 'given'"),
        ({"format": "sleap", "keypoints": "auto", "boxes": "given"}, r"boxes \(of format 'sleap'\) must be one of"),
        ({"format": "mpii-mat", "keypoints": "coco"}, r"keypoints \(of format 'mpii-mat'\) must be 'mpii'"),
        ({"outside": "drop"}, "outside must be one of 'error', 'hide', 'keep'"),
        ({"val_share": 1.0}, "val_share must be below 1"),
        ({"test_share": -0.1}, "test_share must be at least 0"),
        ({"split_seed": 0.5}, "split_seed must be an int"),
        ({"backbone_rate": -1}, "backbone_rate must be at least 0"),
        ({"weights": 3}, "weights must be a text"),
    ],
)
def test_wrong_settings_of_own_data_are_named(changes, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        Config(**changes)


def test_keypoints_that_are_not_read_yet_are_said():
    with pytest.raises(ConfigError, match="keypoints: 'auto' has not been read yet"):
        make_model(Config(format="coco", keypoints="auto"))


def test_a_run_keeps_its_keypoints(run):
    trainer, said = run
    assert "keypoints beetle: head, left_wing, right_wing, belly, tail" in said
    assert "joints that change places in a mirrored picture: left_wing - right_wing" in said
    path = trainer.folder / "best.pt"
    stored = stored_config(read_checkpoint(path), path)
    assert stored.table == BEETLE and stored == trainer.config and stored.monitor == "RMSE"
    assert read_toml(trainer.folder / "config.toml")["keypoints"]["names"] == NAMES
    assert tuple(trainer.metrics) == OWN_MEASURES and np.isfinite(list(trainer.metrics.values())).all()
    assert trainer.train_set.augment.flip_prob == 0.5 and trainer.make_predictor().flip_test


def test_commands_take_the_keypoints_of_a_checkpoint(run, tmp_path, capsys):
    trainer, _ = run
    checkpoint = str(trainer.folder / "best.pt")
    files = ["--out", str(tmp_path / "a.csv"), "--json", str(tmp_path / "m.json")]
    assert main(["eval", checkpoint, *files, "--quiet"]) == 0
    assert json.loads((tmp_path / "m.json").read_text()) == pytest.approx(trainer.metrics, abs=1e-3)
    assert (tmp_path / "a.csv").read_text().startswith("image,person,head_x,head_y,head_score,left_wing_x")
    picture = str(trainer.val_set.persons[0].image)
    command = ["predict", checkpoint, picture, "--whole-picture", "--output", str(tmp_path / "p"), "--quiet"]
    assert main(command) == 0
    (found,) = json.loads(next((tmp_path / "p").glob("*.json")).read_text())
    assert len(found["keypoints"]) == 5
    assert "RMSE" in capsys.readouterr().out


def test_without_mirror_pairs_nothing_is_mirrored(beetles, tmp_path):
    said = []
    table = BEETLE.to_table() | {"mirror": False}
    del table["pairs"]
    trainer = Trainer(settings(beetles, tmp_path / "run", keypoints=table), quiet=True, say=said.append)
    assert trainer.train_set.augment.flip_prob == 0 and trainer.val_set.augment is None
    predictor = trainer.make_predictor()
    assert not predictor.flip_test
    picture = read_image(trainer.val_set.persons[0].image)
    points, scores = predictor(picture)
    assert points.shape == (1, 5, 2) and scores.shape == (1, 5)
    assert said.count("no mirror pairs are known: no mirroring in training, no flip test") == 1
    person = trainer.val_set.persons[0]
    with pytest.raises(ValueError, match="keypoints 'beetle' have no mirror pairs"):
        trainer.val_set.sample(0, person.center, person.size, Change(flip=True))


def test_measures_of_own_keypoints(beetles):
    persons = load_coco(beetles / "val.json", beetles / "images", BEETLE)
    dataset = PoseDataset(persons, BEETLE, (64, 64))
    truth = np.stack([person.keypoints for person in persons])
    scores = np.ones((4, 5))
    perfect = measure(dataset, truth, scores)
    assert perfect == dict.fromkeys(OWN_MEASURES, 100.0) | {"RMSE": 0.0, "median": 0.0}
    moved = truth.copy()
    moved[0, :, 0] += 3
    moved[1, 0, 1] += 40  # beyond a fifth of any box here
    found = measure(dataset, moved, scores)
    assert found["RMSE"] == pytest.approx((5 * 3 + 40) / 20) and found["median"] == 0
    assert found["PCK@0.2"] == pytest.approx(100 * 19 / 20)
    distance = np.linalg.norm(truth[0, 0] - truth[0, 4])
    table = KeypointSet("b", tuple(NAMES), sigmas=(0.01,) * 5, unit=(0, 4))
    by_unit = measure(PoseDataset(persons, table, (64, 64)), moved, scores)
    assert 3 / distance < 0.1 and 3 / distance > 0.05
    assert by_unit["PCK@0.05"] == pytest.approx(100 * (4 * 3 / 4 + 2 / 4) / 5)
    assert by_unit["AP"] < found["AP"] < 100
    errors = pixel_errors(moved, truth, np.ones((4, 5)))
    assert errors["per_joint"].tolist() == pytest.approx([(3 + 40) / 4, *[3 / 4] * 4])


def test_ap_of_given_objects_is_that_of_coco_files(beetles):
    """Against the same truth written as a COCO file, with poor predictions."""
    from hgfast.metrics import coco_ap, coco_results

    persons = load_coco(beetles / "train.json", beetles / "images", BEETLE)
    rng = np.random.default_rng(5)
    truth = np.stack([person.keypoints for person in persons])
    found, scores = truth + rng.normal(0, 4, truth.shape), rng.uniform(0.3, 1, (12, 5))
    images, areas = np.array([person.ident[0] for person in persons]), np.full(12, 500.0)
    sigmas = np.full(5, 0.1)
    mine = oks_ap(images, found, scores.mean(axis=1), truth, np.ones((12, 5)), areas, sigmas)
    entries = coco_results(images, found, scores, np.ones(12), areas, sigmas)
    theirs = coco_ap(beetles / "train.json", entries, sigmas)
    assert 0 < mine["AP"] < 100 and mine == {name: pytest.approx(theirs[name]) for name in mine}


def test_drawings_show_own_keypoints():
    points, picture = beetle(np.random.default_rng(3))
    blank = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for table in (BEETLE, KeypointSet("bare", tuple(NAMES))):
        drawn = draw_people(blank, points[None], table)
        assert all(drawn[int(y), int(x)].any() for x, y in points)


def test_predictors_take_any_number_of_keypoints():
    config = apply(preset("demo"), SMALL | {"format": "coco", "keypoints": {"names": ["only"]}})
    predictor = Predictor(make_model(config), make_codec(config), config.table)
    assert predictor(np.zeros((40, 60, 3), np.uint8)).keypoints.shape == (1, 1, 2)
