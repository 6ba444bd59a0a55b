"""What goes wrong on a command line: one line that says what, before the work, and code 2."""

import io
import os
import sys

import pytest
import torch

import hgfast
from hgfast._extras import install_command
from hgfast.cli import main
from hgfast.cli._text import measures_table, one_line
from tests.test_predict_cli import checkpoint  # noqa: F401 - a fixture


class Broken(torch.utils.data.Dataset):
    """A data set whose first sample cannot be read."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ValueError("some.jpg: not a picture")


def test_an_error_of_a_loaders_process_is_its_last_line():
    with pytest.raises(ValueError) as caught:
        next(iter(torch.utils.data.DataLoader(Broken(), num_workers=1)))
    assert len(str(caught.value).splitlines()) > 5
    assert one_line(caught.value) == "some.jpg: not a picture"
    assert one_line(ValueError("one\n  two")) == "one two" and one_line(MemoryError()) == "MemoryError"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TypeError("wrong"), "wrong"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed."), "DataLoader worker (pid 3) is killed"),
        (torch.OutOfMemoryError("CUDA out of memory"), "CUDA out of memory"),
        (OSError(28, "No space left on device", "a.pt"), "[Errno 28] No space left on device: 'a.pt'"),
    ],
)
def test_errors_from_below_are_one_line(error, line, monkeypatch, capsys, tmp_path):
    def fail(*_):
        raise error

    monkeypatch.setattr("hgfast.cli.demo.run_demo", fail)
    assert main(["demo", "--output", str(tmp_path)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"hgfast demo: error: {line}")


def test_a_mistake_in_the_program_keeps_its_traceback(monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("a shape that should not be")

    monkeypatch.setattr("hgfast.cli.demo.run_demo", fail)
    with pytest.raises(RuntimeError, match="a shape"):
        main(["demo", "--output", str(tmp_path)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval", "CHECKPOINT", "--device", "meta"], "device: cannot use 'meta'"),
        (["eval", "CHECKPOINT", "--json", "FILE/m.json"], "FILE/m.json"),
        (["eval", "CHECKPOINT", "--json", "."], "Is a directory: '.'"),
        (["eval", "CHECKPOINT", "--out", "FILE/m.csv"], "FILE/m.csv"),
        (["eval", "CHECKPOINT", "--out", "m.json", "--json", "./m.json"], "m.json: would be written twice"),
        (["demo", "--epochs", "0"], "--epochs must be at least 1"),
        (["predict", "CHECKPOINT", "FILE", "--min-score", "nan"], "--min-score must be finite"),
        (["predict", "CHECKPOINT", "FILE", "--output", "FILE"], "FILE/FILE.json"),
        (["predict", "CHECKPOINT", "FILE", "--boxes", "FILE"], "FILE: not a JSON file"),
    ],
)
def test_bad_options_are_noticed_before_the_work(words, message, checkpoint, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("kept")
    monkeypatch.setattr("hgfast.cli.eval.make_dataset", lambda *_: pytest.fail("the work has begun"))
    monkeypatch.setattr("hgfast.cli.predict.make_predictor", lambda *_: pytest.fail("the work has begun"))
    assert main([str(checkpoint) if word == "CHECKPOINT" else word for word in words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"hgfast {words[0]}: error: ") and message in said
    assert (tmp_path / "FILE").read_text() == "kept" and os.listdir(tmp_path) == ["FILE"]


def test_measures_of_nothing_are_an_empty_table():
    assert measures_table({}) == "\n"


def test_dir_shows_the_modules_that_are_loaded_on_demand():
    listed = dir(hgfast)
    for name in ("codecs", "data", "metrics", "predict", "results", "train", "viz", "reference", "fuse", "ops"):
        assert name in listed and getattr(hgfast, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        hgfast.nothing  # noqa: B018


def test_a_missing_package_is_named_before_the_work(checkpoint, monkeypatch, capsys, tmp_path):  # noqa: F811
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert main(["eval", str(checkpoint), "--out", str(tmp_path / "a.mat")]) == 2
    assert f"a.mat: writing a .mat file needs scipy ({install_command('train')})" in capsys.readouterr().err


def test_words_that_the_terminal_cannot_show(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict"))
    assert main(["eval", os.fsdecode(b"\xfc.pt")]) == 2 and main(["eval", "ü.pt"]) == 2
    sys.stderr.flush()
    first, second = sys.stderr.buffer.getvalue().splitlines()
    assert b"\\udcfc.pt: no such checkpoint" in first and b"\\xfc.pt: no such checkpoint" in second
