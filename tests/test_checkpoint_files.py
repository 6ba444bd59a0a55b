"""Checkpoint files that are damaged, empty, not what their name says, or carry more than weights."""

from __future__ import annotations

import hashlib
import pathlib
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hgfast
from hgfast.checkpoint import CheckpointError
from tests.checkpoint_cases import expect_error, renamed, same_weights, saved, small


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no weights"),
        ({"epoch": 3}, "holds no weights; expected a state dict or one of"),
        ({"state_dict": {}}, "holds no weights"),
        ({"module.a": torch.zeros(1), "a": torch.zeros(1)}, "two entries for a"),
    ],
)
def test_files_without_weights(content: Any, message: str, tmp_path: Path) -> None:
    expect_error(small("mmpose"), saved(tmp_path / "c.pth", content), message)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    model = small("mmpose")
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        hgfast.load_checkpoint(model, tmp_path / "none.pth")
    expect_error(model, tmp_path, "not a file")
    for zipped in (True, False):
        whole = saved(tmp_path / "whole.pth", model.state_dict(), _use_new_zipfile_serialization=zipped).read_bytes()
        for size in (0, 10, len(whole) // 2, len(whole) - 20):
            path = tmp_path / "cut.pth"
            path.write_bytes(whole[:size])
            expect_error(model, path, "cut.pth: not a readable checkpoint")
    path.write_bytes(b"<!DOCTYPE html><html>404</html>")
    expect_error(model, path, "not a readable checkpoint")


def test_wrong_model_type(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got dict"):
        hgfast.load_checkpoint({}, tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["hg-{digits}_20200812.pth", "hg-mpii-{digits}_20200812.pth"])
def test_hash_in_the_name(name: str, tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    path = saved(tmp_path / "c.pth", source.state_dict())
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    wrong = path.rename(tmp_path / name.format(digits="0123abcd"))
    expect_error(model, wrong, f"SHA-256 starts with {digits}, its name says 0123abcd")
    hgfast.load_checkpoint(small("mmpose", 2), wrong, check_hash=False)
    hgfast.load_checkpoint(model, wrong.rename(tmp_path / name.format(digits=digits)))
    assert same_weights(model, source)


@pytest.mark.parametrize("name", ["run-20240131.pth", "step-00012000.pth", "model-7ac7f3d0.pth", "a-deadbeef-b.pt"])
def test_other_digits_in_the_name_are_no_hash(name: str, tmp_path: Path) -> None:
    model = small("mmpose")
    assert hgfast.load_checkpoint(model, saved(tmp_path / name, model.state_dict())).complete


class Trap:
    """Runs code when it is unpickled by Python's own unpickler."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('pathlib').Path('sprung').touch()",)


@pytest.mark.parametrize("zipped", [True, False])
def test_other_objects_in_the_file_are_passed_over(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in mmengine's files: buffers of a class that is not installed, arrays, paths; and code, which must not run."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("absent_package.history")
    history = type("HistoryBuffer", (), {"__module__": module.__name__})
    module.HistoryBuffer = history
    buffer = history()
    buffer.log = np.arange(3.0)
    source, model = small("mmpose", 1), small("mmpose", 2)
    meta = {"sigmas": np.ones(16, np.float32), "one": np.float64(1), "at": pathlib.PurePosixPath("a/b"), "trap": Trap()}
    content = {"meta": meta, "message_hub": {"log_scalars": {"loss": buffer}}, "state_dict": renamed(source)}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "absent_package", types.ModuleType("absent_package"))
        patch.setitem(sys.modules, module.__name__, module)
        path = saved(tmp_path / "c.pth", content, _use_new_zipfile_serialization=zipped)
    assert hgfast.load_checkpoint(model, path).complete
    assert same_weights(model, source)
    assert not (tmp_path / "sprung").exists()


class Blocked:
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


def test_what_torch_blocks_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", {"meta": Blocked(), "state_dict": small("mmpose").state_dict()})
    expect_error(small("mmpose", 2), path, "not a readable checkpoint", "sys.exit whose module sys is blocked")


def test_error_can_be_pickled(tmp_path: Path) -> None:
    """Worker processes hand errors over by pickle."""
    error = pickle.loads(pickle.dumps(CheckpointError("text")))
    assert isinstance(error, RuntimeError) and isinstance(error, ValueError) and str(error) == "text"
