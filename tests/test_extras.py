"""Optional packages and OpenCV's libraries: what is said where they are missing."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest

from hgfast import _extras, _opencv
from hgfast.checkpoint.names import FORMATS
from hgfast.cli.options.convert import FORMS


def recorded(monkeypatch: pytest.MonkeyPatch, folder: Path, record: object) -> None:
    """An hgfast that is no checkout, with what pip noted of where it came from."""
    monkeypatch.setattr(_extras, "__file__", str(folder / "site-packages" / "hgfast" / "_extras.py"))
    text = None if record is None else json.dumps(record)
    monkeypatch.setattr(_extras.metadata, "distribution", lambda _: types.SimpleNamespace(read_text=lambda _: text))


def test_the_command_installs_from_where_hgfast_came_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "a folder"
    for record, command in (
        ({"url": source.as_uri(), "dir_info": {"editable": True}}, f"pip install '{source}[train]'"),
        ({"url": "file:///gone", "dir_info": {}}, "pip install '.[train]' in the folder of hgfast's source"),
        ({"url": "file:///a.whl", "archive_info": {}}, "pip install 'hgfast[train] @ file:///a.whl'"),
        ({"url": "ssh://b/c", "vcs_info": {"vcs": "git"}}, "pip install 'hgfast[train] @ git+ssh://b/c'"),
        (None, "pip install '.[train]' in the folder of hgfast's source"),
    ):
        source.mkdir(exist_ok=True)
        (source / "pyproject.toml").touch()
        recorded(monkeypatch, tmp_path, record)
        assert _extras.install_command("train") == command
        monkeypatch.undo()


def test_a_checkout_is_its_own_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded(monkeypatch, tmp_path, None)
    (tmp_path / "site-packages" / "pyproject.toml").parent.mkdir()
    (tmp_path / "site-packages" / "pyproject.toml").touch()
    with pytest.raises(ImportError, match=r"x.mat needs absent \(pip install '?/.*/site-packages\[a\]'?\)"):
        _extras.require("absent.part", "x.mat", "a")


def test_missing_libraries_of_opencv_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({line!r})")
    monkeypatch.delitem(sys.modules, "cv2")
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location("hgfast._opencv_again", str(_opencv.__file__))
    assert spec is not None and spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    with pytest.raises(ImportError, match=r"lacks libGL.so.1: apt-get install libgl1 .*opencv-python-headless<5"):
        spec.loader.exec_module(again)
    assert "lacks libX.so.6: install the package that has it" in _opencv.advice(line.replace("GL.so.1", "X.so.6"))
    assert "pip install 'opencv-python<5'" in _opencv.advice("No module named 'cv2'")


def test_forms_of_convert_are_those_of_checkpoints() -> None:
    assert sorted(FORMATS) == list(FORMS)
