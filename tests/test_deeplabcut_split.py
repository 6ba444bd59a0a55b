"""DeepLabCut's pickled splits: its test pictures stay the test pictures, and nothing in the file runs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hgfast.data import AnnotationError
from hgfast.data.deeplabcut import load_deeplabcut, read_table
from hgfast.data.deeplabcut_split import read_pickle, split_by_deeplabcut
from hgfast.train.config import ConfigError
from hgfast.train.own import complete
from hgfast.train.parts import persons_of_part
from tests.test_lab_formats import BEETLE, project, table_of, write
from tests.test_split import own

TRAIN, TEST = [4, 0, 2, -1, -1, 3], [1]  # rows of the merged table; -1 as DeepLabCut fills up


def entries(names: list[str], as_text: bool) -> list[dict[str, Any]]:
    """What DeepLabCut keeps of each training picture."""
    return [
        {
            "image": name if as_text else tuple(name.split("/")),
            "size": np.array([3, 48, 64]),
            "joints": np.arange(6).reshape(2, 3),
        }
        for name in names
    ]


def write_split(folder: Path, train: Any = TRAIN, test: Any = TEST, protocol: int = 5, **more: Any) -> Path:
    """A project's merged table and the pickle beside it, in the order that the table has."""
    place = folder / "training-datasets" / "iteration-0" / "UnaugmentedDataSet_xNov30"
    place.mkdir(parents=True, exist_ok=True)
    points, names = np.full((5, 1, 5, 2), 9.0), []
    for video, count in (("b", 2), ("a", 3)):  # another order than that of the folders
        names += [f"labeled-data/{video}/img{number:04}.png" for number in range(count)]
    write(place / "CollectedData_me.csv", table_of(points, names))
    known = [row for row in train if isinstance(row, (int, np.integer)) and 0 <= row < 5]
    content = [entries([names[row] for row in known], more.get("as_text", False)), train, test, 0.8]
    path = place / "Documentation_data-x_80shuffle1.pickle"
    path.write_bytes(pickle.dumps(more.get("content", content), protocol))
    return path


def images(persons: list[Any]) -> list[str]:
    return ["/".join(person.image.parts[-2:]) for person in persons]


@pytest.fixture
def persons(tmp_path: Path) -> list[Any]:
    project(tmp_path)
    return load_deeplabcut(tmp_path, "", BEETLE)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("form", [list, np.array, lambda rows: [np.int64(row) for row in rows]])
def test_rows_are_those_of_the_merged_table(tmp_path: Path, persons: list[Any], protocol: int, form: Any) -> None:
    path = write_split(tmp_path, form(TRAIN), form(TEST), protocol, as_text=protocol == 2)
    parts = split_by_deeplabcut(persons, path, 0.0, 0)
    assert images(parts["test"]) == ["b/img0001.png"] and parts["val"] == []
    assert images(parts["train"]) == ["a/img0000.png", "a/img0001.png", "a/img0002.png", "b/img0000.png"]
    shared = split_by_deeplabcut(persons, path, 0.25, 0)
    assert shared["test"] == parts["test"] and len(shared["val"]) == 1
    assert sorted(images(shared["train"] + shared["val"])) == images(parts["train"])


def test_a_run_keeps_the_test_pictures(tmp_path: Path) -> None:
    config = own(tmp_path, val_share=0.3)
    path = write_split(tmp_path / "project")
    config = complete(own(tmp_path, val_share=0.3, test_share=0.5, split=str(path)))
    counts = {part: len(persons_of_part(config, part)) for part in ("train", "val", "test")}
    assert counts == {"train": 3, "val": 1, "test": 1}
    with pytest.raises(ConfigError, match="no pictures to validate with: val_annotations names no file, and val_share"):
        persons_of_part(complete(own(tmp_path, val_share=0.0, split=str(path))), "val")


class Evil:
    """What a hostile file would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_nothing_in_a_file_runs(tmp_path: Path, persons: list[Any]) -> None:
    mark = tmp_path / "it ran"
    path = write_split(tmp_path, content=[[Evil(mark)], [0, 2, 3], Evil(mark), 0.8])
    with pytest.raises(AnnotationError, match="expected test rows below 5"):
        split_by_deeplabcut(persons, path, 0.0, 0)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # by Python's own reader it does
    for bomb in (b"\x80\x04" + b"]r\xff\xff\xff\x7f.", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", b"", b"\x80\x04(("):
        path.write_bytes(bomb)
        with pytest.raises(AnnotationError, match="shuffle1.pickle: not a pickled split"):
            read_pickle(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"train": [0, 1, 7]}, "expected training rows below 5"),
        ({"train": [0, 2.5]}, "expected training rows below 5"),
        ({"test": [0]}, "img0000.png' is both a training and a test picture"),
        ({"content": [1, 2]}, "expected a list of entries, training rows"),
        ({"content": [entries(["labeled-data/b/img0001.png"], False), [0, 2], [1], 0.8]}, "made anew since"),
        ({"test": []}, "none of its pictures to test with"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, persons: list[Any], more: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        split_by_deeplabcut(persons, write_split(tmp_path, **more), 0.0, 0)


def test_the_table_must_be_beside(tmp_path: Path, persons: list[Any]) -> None:
    path = write_split(tmp_path)
    table = path.parent / "CollectedData_me.csv"
    assert len(read_table(table).pictures) == 5
    (path.parent / "CollectedData_you.csv").write_bytes(table.read_bytes())
    with pytest.raises(AnnotationError, match="two tables beside it"):
        split_by_deeplabcut(persons, path, 0.0, 0)
    for file in path.parent.glob("*.csv"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="is not beside it"):
        split_by_deeplabcut(persons, path, 0.0, 0)
    with pytest.raises(FileNotFoundError, match="nothing.pickle: annotation file not found"):
        split_by_deeplabcut(persons, tmp_path / "nothing.pickle", 0.0, 0)
