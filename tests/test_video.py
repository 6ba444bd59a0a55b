"""Videos, folders and box files: through the predictor and through the command line."""

import json
import os
import re
import sys

import cv2
import numpy as np
import pytest

from hgfast.cli import main
from hgfast.data.synthetic import write_set
from hgfast.data.video import VideoWriter, frame_count, frame_rate, read_frames
from hgfast.train import Trainer, preset
from hgfast.train.config import apply
from tests.test_files import files_of_at_most
from tests.test_predict import picture, predictor
from tests.test_train import SMALL

CENTRES = [(90 + 12 * i, 80 + 5 * i) for i in range(7)]
BOX = [20, 10, 220, 210]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A white blob that moves."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, 12.5) as writer:
        for centre in CENTRES:
            writer.write(picture(*centre))
    return path


def test_frames_come_back(clip):
    frames = list(read_frames(clip))
    assert len(frames) == frame_count(clip) == 7 and frame_rate(clip) == pytest.approx(12.5)
    for frame, centre in zip(frames, CENTRES, strict=True):
        assert frame.shape == (240, 300, 3)
        assert np.abs(frame.astype(int) - picture(*centre)).mean() < 3


def test_predictor_follows_a_video(clip):
    find = predictor(batch_size=3, flip_test=False)
    seen = list(find.video(clip, [BOX, [0, 0, 300, 240]]))
    assert len(seen) == 7 and find.model.batches == [3, 3, 3, 3, 2]
    step = 200 * 1.25 / 32  # a heatmap pixel, in the picture; see test_finds_points_in_picture_pixels
    for (image, boxes, prediction), centre in zip(seen, CENTRES, strict=True):
        assert image.shape == (240, 300, 3) and boxes.shape == (2, 4)
        alone = find(image, boxes)
        np.testing.assert_array_equal(alone.keypoints, prediction.keypoints)
        assert np.abs(prediction.keypoints[0, 0] - np.array(centre) + 1.5 / 4 * step).max() < 0.55 * step
    assert [len(s.boxes) for s in find.video(clip)] == [1] * 7


def test_boxes_may_be_found_frame_by_frame(clip):
    calls = []

    def detector(frame):
        calls.append(frame.shape)
        return [BOX] * (len(calls) % 3)

    seen = list(predictor(batch_size=4).video(clip, detector))
    assert [len(s.prediction.keypoints) for s in seen] == [1, 2, 0, 1, 2, 0, 1] and len(calls) == 7


def test_stream_reads_no_further_than_a_batch():
    read = []

    def pictures():
        for i in range(10):
            read.append(i)
            yield picture(100, 100), [BOX]

    stream = predictor(batch_size=4).stream(pictures())
    next(stream)
    assert len(read) == 4
    assert len(list(stream)) == 9


def test_what_is_no_video(tmp_path):
    with pytest.raises(FileNotFoundError, match="no.mp4: video not found"):
        next(predictor().video(tmp_path / "no.mp4"))
    (tmp_path / "bad.mp4").write_bytes(b"nothing like a video" * 100)
    with pytest.raises(ValueError, match="bad.mp4: not a video that OpenCV can read"):
        next(predictor().video(tmp_path / "bad.mp4"))
    with pytest.raises(OSError, match="cannot write a video of 300 x 240 pixels there"):
        VideoWriter(tmp_path / "wrong.nothing", 10).write(picture(10, 10))


@pytest.mark.parametrize(
    ("rate", "written"),
    [(66.667, 66.67), (211.222, 211.22), (196.263, 196.26), (23.976, 23.976), (6553.51, 6553.5), (1e6, 65535)],
)
def test_rates_that_the_file_cannot_hold_become_the_nearest(rate, written, tmp_path):
    with VideoWriter(tmp_path / "a.mp4", rate) as writer:
        writer.write(picture(9, 9))
        writer.write(picture(9, 9))
    assert frame_rate(tmp_path / "a.mp4") == pytest.approx(written) and len(list(read_frames(tmp_path / "a.mp4"))) == 2


@pytest.mark.parametrize("encoder", ["h264", "mp4v"])
def test_what_browsers_play_where_pyav_is_there(encoder, tmp_path, monkeypatch):
    """Sizes that are odd, whose colours neither can halve, are one larger there, and one smaller by OpenCV."""
    pytest.importorskip("av")
    if encoder == "mp4v":
        monkeypatch.setitem(sys.modules, "av", None)
    with VideoWriter(tmp_path / "a.mp4", 29.97) as writer:
        for x in range(20, 80, 2):
            writer.write(picture(x, 40, (91, 75)))
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    name = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    assert name in {"h264": ("h264", "avc1"), "mp4v": ("FMP4", "mp4v")}[encoder]
    assert frame_count(tmp_path / "a.mp4") == 30 and frame_rate(tmp_path / "a.mp4") == pytest.approx(29.97)
    for x, frame in zip(range(20, 80, 2), read_frames(tmp_path / "a.mp4"), strict=True):
        assert frame.shape == ((76, 92, 3) if encoder == "h264" else (74, 90, 3))
        expected = picture(x, 40, (91, 75))[: frame.shape[0], : frame.shape[1]]
        assert np.abs(frame[:75, :91].astype(int) - expected).mean() < 4


def test_scripts_and_addresses_are_no_videos(clip, tmp_path, monkeypatch):
    """FFmpeg would follow them to other files and to the network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.mp4").write_bytes(clip.read_bytes())
    scripts = {
        "concat.mp4": "ffconcat version 1.0\nfile other.mp4\n",
        "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        "session.mp4": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "empty.mp4": "",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name}: not a video"):
            next(read_frames(name))
    for index in (0, 1):  # OpenCV takes such names for a series of pictures
        cv2.imwrite(str(tmp_path / f"p{index}.png"), picture(50, 50))
    (tmp_path / "p0.mp4").write_bytes(b"\0\0\1\xba" + b"\0" * 999)
    with pytest.raises(ValueError, match=r"p0.mp4: (not a video|a video without a frame)"):
        next(read_frames(tmp_path / "p0.mp4"))
    (tmp_path / "http:" / "host").mkdir(parents=True)
    (tmp_path / "http:" / "host" / "x.mp4").write_bytes(clip.read_bytes())
    assert len(list(read_frames("http://host/x.mp4"))) == 7  # the file, without a look at the network


def test_video_names_that_are_not_utf8(clip, tmp_path):
    name = tmp_path / os.fsdecode(b"b\xfc.mp4")
    name.write_bytes(clip.read_bytes())
    with pytest.raises(ValueError, match="takes no videos whose path is not UTF-8"):
        next(read_frames(name))
    with VideoWriter(tmp_path / os.fsdecode(b"out\xfc.mp4"), 5) as writer:
        writer.write(picture(9, 9))
    os.rename(tmp_path / os.fsdecode(b"out\xfc.mp4"), tmp_path / "read.mp4")
    assert len(list(read_frames(tmp_path / "read.mp4"))) == 1


def test_a_video_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 5) as writer:
        writer.write(picture(9, 9))
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt  # what is done is kept
    assert len(list(read_frames(path))) == 1 and os.listdir(tmp_path) == ["a.mp4"]
    before = path.read_bytes()
    with files_of_at_most(4096), pytest.raises(OSError, match="a.mp4"), VideoWriter(path, 5) as writer:
        for _ in range(50):
            writer.write(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.mp4"]


def test_frames_that_do_not_fit(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 5) as writer:
        writer.write(picture(9, 9))
        for frame, error in (
            (picture(9, 9, (90, 80)), ValueError),
            (np.zeros((4, 4, 3)), TypeError),
            (None, TypeError),
        ):
            with pytest.raises(error, match="VideoWriter.write: frame must"):
                writer.write(frame)
    for rate in (0, -5, float("nan"), float("inf"), "25", None):
        with pytest.raises((ValueError, TypeError), match="VideoWriter: rate must"):
            VideoWriter(tmp_path / "b.mp4", rate)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name, count, seed in (("train", 4, 1), ("val", 3, 2)):
        write_set(folder, count, seed, name)
    paths = {f"{part}_annotations": str(folder / f"{part}.json") for part in ("train", "val")}
    paths |= {f"{part}_images": str(folder / "images") for part in ("train", "val")}
    Trainer(apply(preset("demo"), SMALL | paths | {"epochs": 1, "output": str(folder / "run")}), quiet=True).fit()
    return folder / "run" / "best.pt"


def predict(checkpoint, output, *words):
    return main(["predict", str(checkpoint), *map(str, words), "--output", str(output), "--quiet", "--min-score", "-9"])


def test_command_takes_a_video(checkpoint, clip, tmp_path, capsys):
    assert predict(checkpoint, tmp_path, clip, "--box", "20,10,220,210", "--box", "0,0,300,240") == 0
    assert "14 persons in 1 inputs" in capsys.readouterr().out
    frames = json.loads((tmp_path / "clip.json").read_text())
    assert [frame["frame_id"] for frame in frames] == list(range(7))
    assert [person["bbox"] for person in frames[3]["instances"]] == [[[20, 10, 220, 210]], [[0, 0, 300, 240]]]
    assert np.shape(frames[6]["instances"][1]["keypoints"]) == (16, 2)
    drawn = list(read_frames(tmp_path / "clip_keypoints.mp4"))
    assert len(drawn) == 7 and frame_rate(tmp_path / "clip_keypoints.mp4") == pytest.approx(12.5)
    assert np.abs(drawn[0].astype(int) - next(read_frames(clip))).max() > 100


def test_command_takes_a_folder_and_a_box_file(checkpoint, clip, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    (folder / clip.name).write_bytes(clip.read_bytes())
    for name in ("b", "a"):
        cv2.imwrite(str(folder / f"{name}.png"), picture(100, 100))
    boxes = {"a.png": [[1, 2, 101, 102]], "b.png": [], "clip.mp4": [[BOX]] * 6 + [[]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert predict(checkpoint, tmp_path / "out", folder, "--boxes", tmp_path / "boxes.json", "--no-draw") == 0
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == [".predicted-0.jsonl", "a.json", "b.json", "clip.json"]
    (person,) = json.loads((tmp_path / "out" / "a.json").read_text())
    assert person["bbox"] == [[1, 2, 101, 102]] and json.loads((tmp_path / "out" / "b.json").read_text()) == []
    frames = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert [len(frame["instances"]) for frame in frames] == [1] * 6 + [0]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3, 4]], "--boxes .*boxes.json: expected an object like"),
        ({"a.png": [[1, 2, 3, 4]]}, "boxes.json: no boxes for .*clip.mp4"),
        (
            {"a.png": [[[1, 2, 3, 4]]], "clip.mp4": []},
            "boxes.json: a.png has boxes for several frames, but it is a picture",
        ),
        (
            {"a.png": [], "clip.mp4": [[BOX]] * 3},
            "boxes.json: clip.mp4 has boxes for fewer frames than the video has",
        ),
        ({"a.png": [[1, 2, 3]], "clip.mp4": []}, r"boxes.json: a.png must have shape \(any, 4\)"),
        (
            {"a.png": [[1, 2, 3, 4], [5]], "clip.mp4": []},
            "boxes.json: a.png must be an array of numbers of one shape",
        ),
        ({"a.png": [{"bbox": [1, 2, 3, 4]}], "clip.mp4": []}, "boxes.json: a.png must hold real numbers"),
        ({"a.png": [["a", 2, 3, 4]], "clip.mp4": []}, "boxes.json: a.png must hold real numbers"),
        ({"a.png": [], "clip.mp4": [[BOX], [[5]]]}, "boxes.json: clip.mp4, frame 1 must have shape"),
        ({"a.png": [], "../a.png": [], "clip.mp4": []}, "boxes.json: a picture has two names"),
    ],
)
def test_box_files_that_do_not_fit(checkpoint, clip, tmp_path, capsys, boxes, message):
    cv2.imwrite(str(tmp_path / "a.png"), picture(100, 100))
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert predict(checkpoint, tmp_path / "out", tmp_path / "a.png", clip, "--boxes", tmp_path / "boxes.json") == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error


def test_inputs_that_do_not_fit(checkpoint, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "a.jpg", "b.png"):
        cv2.imwrite(str(tmp_path / name), picture(100, 100))
    for words, message in (
        (["empty"], "empty: no pictures or videos in this folder"),
        (["no.mp4"], "no.mp4: video not found"),
        (["a.png", "a.jpg"], "inputs: several files are called 'a'"),
        (["a.png", "empty/../a.png", "--box", "1,2,3,4"], "inputs: several files are called 'a'"),
        (["a.png", "b.png", "--box", "1,2,3,4"], "--box: expected a single picture or video, got 2"),
        (["a.png", "--box", "1,2,3"], "--box 1,2,3: expected X1,Y1,X2,Y2"),
        (["a.png", "--box", "1,2,3,4", "--boxes", "x.json"], "--box and --boxes: give one of the two"),
    ):
        words = [word if word.startswith("-") or "," in word or word == "x.json" else tmp_path / word for word in words]
        assert predict(checkpoint, tmp_path / "out", *words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
