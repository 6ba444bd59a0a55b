"""`hgfast predict` and `eval` by two Gloo processes, as torchrun starts them, against one; --resume after a kill."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist

from hgfast.checkpoint import save_checkpoint
from hgfast.cli import _predicting, main
from hgfast.cli._journal import Journal
from hgfast.cli._shares import Outcome, share, together
from hgfast.data.synthetic import write_set
from hgfast.data.video import VideoWriter
from hgfast.train import preset
from hgfast.train.build import make_model
from hgfast.train.config import apply
from hgfast.train.parallel import World, leave
from hgfast.train.state import checkpoint_meta
from tests.processes import meet, run_pair
from tests.test_predict import picture
from tests.test_train import SMALL

PICTURES = [f"{number}.png" for number in range(5)]
VIDEOS = {"long.mp4": 4, "short.mp4": 2}
TOLERANCE = 2e-3  # pixels, and scores: other batches may round otherwise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with new weights, annotated figures, pictures, a broken one, and two videos."""
    place = tmp_path_factory.mktemp("shares")
    annotations, images = write_set(place, 5, 0, "val")
    config = apply(preset("demo"), SMALL | {"val_annotations": str(annotations), "val_images": str(images)})
    save_checkpoint(make_model(config), place / "net.pt", "hgfast", checkpoint_meta(config, {}))
    (place / "in").mkdir()
    for name in PICTURES:
        cv2.imwrite(str(place / "in" / name), picture(60, 50))
    (place / "in" / "broken.jpg").write_bytes(b"no picture")
    for name, frames in VIDEOS.items():
        with VideoWriter(place / "in" / name, 10) as writer:
            for _ in range(frames):
                writer.write(picture(60, 50))
    return place


def predict_words(folder: Path, output: str, *more: str) -> list[str]:
    start = ["predict", str(folder / "net.pt"), str(folder / "in"), "--whole-picture", "--quiet", "--table", "csv"]
    return [*start, "--output", str(folder / output), *more]


def eval_words(folder: Path, output: str) -> list[str]:
    files = ["--out", str(folder / f"{output}.csv"), "--json", str(folder / f"{output}.json")]
    return ["eval", str(folder / "net.pt"), "--quiet", "--set", "workers=0", *files]


def numbers(path: Path) -> tuple[Any, np.ndarray]:
    """What a file says apart from its numbers, and these."""
    if path.suffix == ".csv":
        cells = [cell for line in path.read_text().splitlines() for cell in line.split(",")]
    else:
        cells = path.read_text().replace("[", " [ ").replace("]", " ] ").replace(",", " , ").replace("}", " }").split()
    found, words = [], []
    for cell in cells:
        try:
            found.append(float(cell))
        except ValueError:
            words.append(cell)
    return words, np.array(found)


def assert_same_folder(mine: Path, expected: Path) -> None:
    names = sorted(path.name for path in expected.glob("[!.]*"))
    assert sorted(path.name for path in mine.glob("[!.]*")) == names
    for name in names:
        if name.endswith((".json", ".csv")):
            (words, values), (words_then, values_then) = numbers(mine / name), numbers(expected / name)
            assert words == words_then, name
            np.testing.assert_allclose(values, values_then, atol=TOLERANCE, rtol=0, err_msg=name)


def work(rank: int, folder: str) -> None:
    meet(rank, f"{folder}/meeting")
    place = Path(folder)
    assert main(eval_words(place, "eval-pair")) == 0
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        assert main(predict_words(place, "pair")) == 2  # of both, for the broken picture
    (place / f"said-{rank}.txt").write_text(said.getvalue())
    leave()


def killed(rank: int, folder: str) -> None:
    """Process 1 dies when it is to write its second result, as for want of memory."""
    meet(rank, f"{folder}/meeting-of-the-killed")
    write, written = _predicting.write_json, []

    def write_or_die(path: Path, content: Any) -> None:
        written.append(path)
        if rank == 1 and len(written) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, content)

    _predicting.write_json = write_or_die
    main(predict_words(Path(folder), "killed", "--resume"))


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """The results of one process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main(predict_words(folder, "alone")) == 2
    assert main(eval_words(folder, "eval-alone")) == 0
    torch.set_num_threads(before)
    return folder / "alone"


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
def test_two_processes_give_what_one_gives(folder: Path, alone: Path) -> None:
    run_pair(work, str(folder))
    said = (folder / "said-0.txt").read_text()
    assert "11 persons in 7 inputs" in said and said.count("broken.jpg: not a picture") == 1
    assert (folder / "said-1.txt").read_text() == ""
    assert_same_folder(folder / "pair", alone)
    for form in ("csv", "json"):
        words, values = numbers(folder / f"eval-pair.{form}")
        words_then, values_then = numbers(folder / f"eval-alone.{form}")
        assert words == words_then
        np.testing.assert_allclose(values, values_then, atol=TOLERANCE)
    done = [json.loads(line) for rank in "01" for line in (folder / f"pair/.predicted-{rank}.jsonl").open()]
    inputs = [Path(entry["input"]).name for entry in done if "input" in entry]
    assert sorted(inputs) == sorted([*PICTURES, *VIDEOS])  # each by one of the two


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
def test_a_run_goes_on_after_a_kill(folder: Path, alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(torch.multiprocessing.ProcessExitedException):
        run_pair(killed, str(folder))
    output = folder / "killed"
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.json")}
    journals = "".join(path.read_text() for path in output.glob(".predicted-*"))
    done = {path for path in before if f"/{path.stem}." in journals}
    assert 0 < len(done) < len(PICTURES) + len(VIDEOS)
    assert main(predict_words(folder, "killed", "--resume")) == 2  # one process, not two
    assert "11 persons in 7 inputs" in capsys.readouterr().out
    assert_same_folder(output, alone)
    assert all(path.stat().st_mtime_ns == before[path] for path in done)  # which was not done again
    after = {path: path.stat().st_mtime_ns for path in output.glob("*.json")}
    assert main(predict_words(folder, "killed", "--resume")) == 2
    assert {path: path.stat().st_mtime_ns for path in output.glob("*.json")} == after
    capsys.readouterr()
    assert main(predict_words(folder, "killed", "--resume", "--no-flip")) == 2
    assert ".jsonl is of a run with another no-flip" in capsys.readouterr().err
    (output / "0.json").unlink()
    assert main(predict_words(folder, "killed", "--resume")) == 2
    assert (output / "0.json").is_file()


def test_a_line_that_was_cut_off_counts_as_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0, {"table": ["csv"]})
    assert journal.done() == {}
    journal.begin()
    journal.add(Path("/a/1.png"), 2)
    journal.add(Path("/a/2.png"), 3)
    journal.path.write_bytes(journal.path.read_bytes()[:-9])
    assert journal.done() == {"/a/1.png": 2}
    journal.add(Path("/a/3.png"), 0)
    Journal(tmp_path, 1, {"table": ["csv"]}).add(Path("/a/4.png"), 1)
    assert journal.done() == {"/a/1.png": 2, "/a/3.png": 0, "/a/4.png": 1}
    with pytest.raises(ValueError, match="--resume: .*predicted-0.jsonl is of a run with another table"):
        Journal(tmp_path, 0, {"table": []}).done()
    journal.path.write_text('[1]\n{"input": 3, "persons": "a"}\n\n{"settings": 7}\n')
    with pytest.raises(ValueError, match="of a run with another table"):
        journal.done()
    journal.forget()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_all_inputs_once(tmp_path: Path, size: int) -> None:
    paths = [tmp_path / name for name in ("c.png", "a.mp4", "b.png", "b.mp4", "d.jpg", "c.avi")]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(10 ** (number % 3)))
    shares = [share(paths, World(rank, size)) for rank in range(size)]
    assert sorted(path for part in shares for path in part) == sorted(paths)
    assert max(map(len, shares)) - min(map(len, shares)) <= 2


def test_outcomes_come_in_the_order_of_the_inputs() -> None:
    paths = [Path("b"), Path("a"), Path("c")]
    outcome = together(Outcome({paths[2]: 1, paths[0]: 2}, {paths[1]: "broken"}, 3), paths, World())
    assert [*outcome.done] == [paths[0], paths[2]] and outcome.failed == {paths[1]: "broken"} and outcome.count == 3
