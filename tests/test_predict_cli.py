"""``hgfast predict``: what one bad input, name or target does to all the others."""

import io
import json
import os
import sys

import cv2
import numpy as np
import pytest

from hgfast.checkpoint import read_checkpoint, save_checkpoint
from hgfast.cli import main
from hgfast.data.video import VideoWriter
from hgfast.predict import Predictor
from hgfast.train import preset
from hgfast.train.build import make_model
from hgfast.train.config import apply
from hgfast.train.state import checkpoint_meta
from tests.test_predict import picture
from tests.test_train import SMALL


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network with new weights."""
    path = tmp_path_factory.mktemp("checkpoint") / "new.pt"
    config = apply(preset("demo"), SMALL)
    save_checkpoint(make_model(config), path, "hgfast", checkpoint_meta(config, {}))
    return path


@pytest.fixture
def predict(checkpoint, tmp_path):
    """The command on a folder "in", into a folder "out"; whole pictures where nothing is said of boxes."""
    (tmp_path / "in").mkdir()
    words = ["predict", str(checkpoint), "--quiet", "--output", str(tmp_path / "out")]

    def run(*more):
        named = {"--box", "--boxes", "--annotations"} & {*map(str, more)}
        return main([*words, *map(str, more), *([] if named else ["--whole-picture"])])

    return run


def results(tmp_path):
    return sorted(path.name for path in (tmp_path / "out").glob("[!.]*"))


def persons_file(path, **boxes):
    """MPII annotations: for each picture the centres of its persons."""
    person = {"scale": 0.5, "joints": [[9, 9]] * 16, "joints_vis": [1] * 16}
    entries = [person | {"image": name, "center": [x, 50]} for name, xs in boxes.items() for x in xs]
    path.write_text(json.dumps(entries))
    return path


def test_broken_pictures_are_listed_and_the_others_done(predict, tmp_path, capsys):
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), picture(50, 50))
    (tmp_path / "in" / "._a.png").write_bytes(b"\0\5\x16\7 made by macOS")
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "script.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    assert predict(tmp_path / "in") == 2
    captured = capsys.readouterr()
    assert results(tmp_path) == ["a.json", "a_keypoints.png", "b.json", "b_keypoints.png"]
    assert "2 persons in 2 inputs" in captured.out
    errors = captured.err.splitlines()
    assert len(errors) == 4 and all(line.startswith("hgfast predict: error: ") for line in errors)
    for line, name in zip(errors, ("._a.png", "empty.jpg", "gone.jpg", "script.mp4"), strict=True):
        assert name in line
    assert predict(tmp_path / "in" / "empty.jpg") == 2 and "inputs" not in capsys.readouterr().out


def test_interrupted_after_the_first_batch(predict, tmp_path, monkeypatch):
    for name in "abc":
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), picture(50, 50))
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for _ in range(5):
            writer.write(picture(50, 50))
    run, calls = Predictor.predict_crops, []

    def stop_at_the_third(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, *arguments)

    monkeypatch.setattr(Predictor, "predict_crops", stop_at_the_third)
    assert predict(tmp_path / "in", "--set", "val_batch_size=1") == 130
    assert results(tmp_path) == ["a.json", "a_keypoints.png", "b.json", "b_keypoints.png"]
    calls.clear()
    assert predict(tmp_path / "clip.mp4", "--set", "val_batch_size=1") == 130
    frames = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert [frame["frame_id"] for frame in frames] == [0, 1]
    assert cv2.VideoCapture(str(tmp_path / "out" / "clip_keypoints.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_a_video_that_cannot_be_drawn_still_gives_its_keypoints(predict, tmp_path, capsys):
    with VideoWriter(tmp_path / "in" / "a.mp4", 66.667) as writer:
        for _ in range(3):
            writer.write(picture(50, 50))
    assert predict(tmp_path / "in") == 0
    assert results(tmp_path) == ["a.json", "a_keypoints.mp4"]
    (tmp_path / "out" / "a_keypoints.mp4").unlink()
    (tmp_path / "out" / "a_keypoints.mp4").symlink_to("/dev/full")
    assert predict(tmp_path / "in") == 2
    assert "a_keypoints.mp4" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "a.json").read_text())) == 3


def test_pictures_of_one_name_have_the_persons_of_their_folder(predict, tmp_path, capsys):
    for name in "ab":
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), picture(50, 50))
    people = persons_file(tmp_path / "p.json", **{"a/1.png": [40], "./b/1.png": [60, 70, 80]})
    for name, count in (("a", 1), ("b", 3)):
        assert predict(tmp_path / name, "--annotations", people) == 0
        assert len(json.loads((tmp_path / "out" / "1.json").read_text())) == count
    assert predict(tmp_path / "b", "--annotations", persons_file(tmp_path / "p.json", **{"a/1.png": [40]})) == 2
    assert ".json: no boxes for" in capsys.readouterr().err
    (tmp_path / "boxes.json").write_text(json.dumps({"1.png": [], "b/1.png": [[0, 0, 9, 9]]}))
    assert predict(tmp_path / "b", "--boxes", tmp_path / "boxes.json") == 0
    assert len(json.loads((tmp_path / "out" / "1.json").read_text())) == 1


def test_whole_pictures_are_not_taken_silently(checkpoint, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), picture(50, 50))
    words = ["predict", str(checkpoint), str(tmp_path / "a.png"), "--output", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 2 and "no boxes: give them by --box" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--whole-picture", "--box", "1,2,3,4"]) == 2
    assert "--box and --whole-picture: give one of the two" in capsys.readouterr().err
    content = read_checkpoint(checkpoint)
    content["meta"]["config"] |= {"boxes": "picture", "format": "coco"}
    save_checkpoint(content["state_dict"], tmp_path / "whole.pt", "hgfast", content["meta"])
    assert main([words[0], str(tmp_path / "whole.pt"), *words[2:]]) == 0
    (person,) = json.loads((tmp_path / "out" / "a.json").read_text())
    assert person["bbox"] == [[0, 0, 300, 240]]


def test_nothing_that_is_read_is_overwritten(predict, checkpoint, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "in" / "a.png"), picture(50, 50))
    (tmp_path / "in" / "a.json").write_text(json.dumps({"a.png": [[0, 0, 9, 9]]}))
    before = (tmp_path / "in" / "a.json").read_bytes()
    words = [tmp_path / "in" / "a.png", "--boxes", tmp_path / "in" / "a.json", "--output", tmp_path / "in"]
    assert predict(*words) == 2
    assert "a.json would overwrite the input" in capsys.readouterr().err
    assert (tmp_path / "in" / "a.json").read_bytes() == before
    assert main(["eval", str(checkpoint), "--json", str(checkpoint)]) == 2
    assert "would overwrite the input" in capsys.readouterr().err


def test_boxes_may_begin_with_a_minus(predict, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "in" / "a.png"), picture(50, 50))
    assert (
        predict(tmp_path / "in" / "a.png", "--box", "-10,5,120,100", "--box", "-.5,0,9,9", "--min-score", "-1e-3") == 0
    )
    boxes = [person["bbox"] for person in json.loads((tmp_path / "out" / "a.json").read_text())]
    assert boxes == [[[-10, 5, 120, 100]], [[-0.5, 0, 9, 9]]]
    for box in ("-10,5", "-nan,5,6,7", "nan,nan,nan,nan", "5,5,1,1", "-inf,0,inf,9", "a,b,c,d", "0,0,3e38,3e38"):
        assert predict(tmp_path / "in" / "a.png", "--box", box) == 2
        assert f"error: --box {box}" in capsys.readouterr().err


def test_names_that_are_not_utf8(checkpoint, tmp_path, monkeypatch):
    """OpenCV crashes on such names, and a stream refuses to print them."""
    folder = tmp_path / os.fsdecode(b"f\xfc")
    folder.mkdir()
    (folder / os.fsdecode(b"b\xfc.png")).write_bytes(cv2.imencode(".png", picture(50, 50))[1].tobytes())
    (folder / os.fsdecode(b"bad\xfc.png")).write_bytes(b"no picture")
    (folder / os.fsdecode(b"clip\xfc.mp4")).write_bytes(b"\0\0\0 ftypisom")
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict"))
    assert main(["predict", str(checkpoint), str(folder), "--output", str(folder), "--whole-picture"]) == 2
    out, err = (stream.flush() or stream.buffer.getvalue() for stream in (sys.stdout, sys.stderr))
    assert b"1 persons in 1 inputs: " in out and b"f\\udcfc/*.json" in out
    assert b"bad\\udcfc.png: not a picture" in err and b"clip\\udcfc.mp4" in err
    assert os.path.exists(os.fsencode(folder) + b"/b\xfc_keypoints.png")
    assert np.shape(json.loads((folder / os.fsdecode(b"b\xfc.json")).read_text())[0]["keypoints"]) == (16, 2)
