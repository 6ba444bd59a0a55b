"""Pictures to train, validate and test with: drawn by a seed, or listed."""

import json
from pathlib import Path

import numpy as np
import pytest

from hgfast.cli import main
from hgfast.data import AnnotationError, Person
from hgfast.data.split import split_by_list, split_by_shares
from hgfast.train import ConfigError, Trainer, preset
from hgfast.train.build import make_dataset
from hgfast.train.config import apply
from hgfast.train.own import complete
from hgfast.train.parts import persons_of_part, truth_file
from tests.own_data import write_beetles
from tests.test_lab_formats import project
from tests.test_train import SMALL

BOX = np.ones(2, np.float32)


def persons_in(*pictures):
    return [Person(Path(name), BOX, BOX, np.zeros((1, 2)), np.ones(1)) for name in pictures]


def images(persons):
    return [str(person.image) for person in persons]


def test_shares_are_drawn_by_picture():
    persons = persons_in(*(f"a/{i // 2:02}.png" for i in range(40)))  # two in each picture
    parts = split_by_shares(persons, 0.2, 0.1, 7)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [28, 8, 4]
    sets = [set(images(parts[name])) for name in ("train", "val", "test")]
    assert len(set.union(*sets)) == 20 == sum(map(len, sets))
    again = split_by_shares(persons[::-1], 0.2, 0.1, 7)
    assert all(set(images(again[name])) == set(images(parts[name])) for name in parts)
    assert set(images(split_by_shares(persons, 0.2, 0.1, 8)["val"])) != sets[1]
    assert [len(part) for part in split_by_shares(persons, 0.01, 0, 0).values()] == [38, 2, 0]


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match=r"1 pictures cannot be split .* 1 to validate with .val_share 0.5."):
        split_by_shares(persons_in("a.png"), 0.5, 0, 0)
    with pytest.raises(ValueError, match="test_share must be at most 1"):
        split_by_shares(persons_in("a.png"), 0.5, 3, 0)


def test_lists_of_pictures(tmp_path):
    persons = persons_in("x/a/1.png", "x/b/1.png", "x/b/2.png", "x/b/3.png")
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["a/1.png", "2.png"], "val": ["b/1.png"]}))
    parts = split_by_list(persons, path)
    assert {name: images(part) for name, part in parts.items()} == {
        "train": ["x/a/1.png", "x/b/2.png"], "val": ["x/b/1.png"], "test": [],
    }  # fmt: skip
    for content, message in (
        ({"train": ["1.png"]}, r"train\[0\]: '1.png' is the name of 2 of the pictures"),
        ({"train": ["2.png", "9.png"]}, r"train\[1\]: '9.png' is the name of none of the pictures"),
        ({"train": ["2.png"], "val": ["b/2.png"]}, r"val\[0\]: 'b/2.png' stands in 'train', too"),
        ({"train": "2.png"}, "field 'train' is not a list of texts"),
        ({"val": ["2.png"]}, "expected lists of pictures called train, val and test"),
        ({"train": ["2.png"], "rest": []}, "expected lists of pictures called train, val and test"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(AnnotationError, match=f"split.json: {message}"):
            split_by_list(persons, path)


def own(tmp_path, **more):
    project(tmp_path / "project")
    data = {"format": "deeplabcut", "train_annotations": str(tmp_path / "project"), "train_images": ""}
    empty = {"val_annotations": "", "val_images": "", "keypoints": "auto", "output": str(tmp_path / "run")}
    return apply(preset("demo"), SMALL | data | empty | {"epochs": 1} | more)


def test_a_run_on_shares_of_a_project(tmp_path, capsys):
    config = own(tmp_path, val_share=0.2, test_share=0.2)
    trainer = Trainer(config, quiet=True, say=lambda _: None)
    assert (len(trainer.train_set), len(trainer.val_set)) == (3, 1)
    assert trainer.config.boxes == "picture" and trainer.train_set.padding == 1.0
    assert trainer.fit()["RMSE"] > 0
    best = str(trainer.folder / "best.pt")
    for part, count in (("train", 3), ("val", 1), ("test", 1)):
        assert main(["eval", best, "--part", part, "--quiet"]) == 0
        assert capsys.readouterr().out.startswith(f"{count} persons of {tmp_path / 'project'}")
    plain = make_dataset(trainer.config, "train", augment=False)
    assert plain.augment is None and not plain.fast_decode


def test_parts_without_pictures_are_said(tmp_path):
    config = complete(own(tmp_path, val_share=0.4))
    with pytest.raises(ConfigError, match=r"project: no pictures to test with: test_annotations names no file"):
        persons_of_part(config, "test")
    with pytest.raises(ConfigError, match="5 pictures cannot be split"):
        persons_of_part(apply(config, {"test_share": 0.6}), "test")
    listed = tmp_path / "split.json"
    listed.write_text(json.dumps({"train": ["a/img0000.png"]}))
    with pytest.raises(ConfigError, match="no pictures to validate with: .*split.json lists none as 'val'"):
        persons_of_part(apply(config, {"split": str(listed)}), "val")
    assert len(persons_of_part(apply(config, {"split": str(listed)}), "train")) == 1


def test_coco_is_measured_against_the_part_alone(tmp_path):
    """AP of perfect predictions is 100 on a share, not the share of the file."""
    from hgfast.data import COCO
    from hgfast.train.measures import measure

    path = write_beetles(tmp_path, 6, keypoints=list(COCO.names), skeleton=[])
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        entry["keypoints"] = (entry["keypoints"] * 4)[:51]
    path.write_text(json.dumps(content))
    data = {"format": "coco", "keypoints": "auto", "train_annotations": str(path), "val_annotations": ""}
    config = complete(apply(preset("demo"), data | {"train_images": str(tmp_path / "images"), "val_share": 0.34}))
    assert config.keypoints == "coco" and config.monitor == "AP"
    dataset = make_dataset(config, "val")
    truth = np.stack([person.keypoints for person in dataset.persons])
    perfect = measure(dataset, truth, np.ones(truth.shape[:2]), truth_file(config, "val"))
    assert len(dataset) == 2 and perfect["AP"] == 100
    assert truth_file(config, "train") == ""
    assert truth_file(apply(config, {"val_annotations": "v.json"}), "train") == str(path)
