"""The file of what was found out of kernels: kept, shared by processes, and never in the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import types
from pathlib import Path

import pytest
import torch

from hgfast import _kernel_table
from hgfast._kernel_table import FORMAT, Finding, Table, as_fields, read, table_of
from hgfast._times import Measured, Time

IDENTITY = {"card": "NVIDIA H100", "driver": "580.65", "module": "0123"}


def test_findings_are_kept(tmp_path: Path) -> None:
    table = Table(IDENTITY, tmp_path)
    table.note("mma 64x64", "conv A", right=True)
    time = Time(Measured(12.5, 0.25), Measured(8.0, 0.5))
    table.note("mma 64x64", "conv A", **as_fields(time))
    table.note("wgmma 128x256", "conv A", right=False, why="element 3 is 0")
    assert not list(tmp_path.iterdir())
    table.save()
    again = Table(IDENTITY, tmp_path)
    assert again.get("mma 64x64", "conv A") == Finding(True, "", 12.5, 0.25, 8.0, 0.5)
    assert again.get("mma 64x64", "conv A").time == time
    assert again.get("mma 64x64", "conv B") == Finding() and Finding().time is None
    assert again.failures() == {"wgmma 128x256 | conv A": "element 3 is 0"}
    assert read(table.path)[0] == IDENTITY  # type: ignore[arg-type]


@pytest.mark.parametrize("key", IDENTITY)
def test_another_driver_card_or_build_begins_anew(key: str, tmp_path: Path) -> None:
    table = Table(IDENTITY, tmp_path)
    table.note("k", "c", right=True)
    table.save()
    assert Table({**IDENTITY, key: "another"}, tmp_path).get("k", "c") == Finding()
    assert Table(dict(reversed(IDENTITY.items())), tmp_path).get("k", "c").right


TIMES = {"card": 12.5, "card_error": 0.25, "host": 8.0, "host_error": 0.5}
DAMAGE = {
    "empty": b"",
    "cut off": b'{"format": 1, "identity": {}, "kern',
    "no text": bytes(range(256)),
    "a list": b"[]",
    "deep": b"[" * 100000,
    "another format": json.dumps({"format": FORMAT + 1, "identity": {}, "kernels": {"k | c": {}}}).encode(),
    "unknown field": json.dumps({"format": FORMAT, "identity": {}, "kernels": {"k | c": {"colour": 1}}}).encode(),
    "a word for a time": json.dumps(
        {"format": FORMAT, "identity": {}, "kernels": {"k | c": {**TIMES, "card": "fast"}}}
    ).encode(),
    "a time without its error": json.dumps(
        {"format": FORMAT, "identity": {}, "kernels": {"k | c": {**TIMES, "host_error": None}}}
    ).encode(),
    "a word for right": json.dumps({"format": FORMAT, "identity": {}, "kernels": {"k | c": {"right": "yes"}}}).encode(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_counts_as_none_and_is_written_again(damage: str, tmp_path: Path) -> None:
    path = Table(IDENTITY, tmp_path).path
    assert path is not None
    path.write_bytes(DAMAGE[damage])
    table = Table(IDENTITY, tmp_path)
    assert table.get("k", "c") == Finding()
    table.note("k", "c", right=True)
    table.save()
    assert Table(IDENTITY, tmp_path).get("k", "c").right


def test_where_nothing_can_be_written_findings_live_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    table = Table(IDENTITY, tmp_path / "file" / "hgfast")
    table.note("k", "c", right=True)
    table.save()
    assert table.get("k", "c").right
    nowhere = Table(IDENTITY, None)
    nowhere.note("k", "c", right=True)
    nowhere.save()
    assert nowhere.get("k", "c").right


def _write(folder: Path, number: int) -> None:
    table = Table(IDENTITY, folder)
    for i in range(5):
        table.note(f"kernel {number}", f"call {i}", right=True)
        table.save()


def test_processes_add_to_each_others_findings(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write, args=(tmp_path, number)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    table = Table(IDENTITY, tmp_path)
    assert all(table.get(f"kernel {n}", f"call {i}").right for n in range(6) for i in range(5))


def test_what_others_have_found_since_is_known_after_writing(tmp_path: Path) -> None:
    one, other = Table(IDENTITY, tmp_path), Table(IDENTITY, tmp_path)
    one.note("k", "c", right=False, why="wrong")
    one.save()
    other.note("k", "d", right=True)
    other.save()
    assert other.failures() == {"k | c": "wrong"}


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _kernel_table.folder() == tmp_path / "hgfast"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")  # the specification: such a value is ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _kernel_table.folder() == tmp_path / ".cache" / "hgfast"

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert _kernel_table.folder() is None


def test_a_device_is_known_by_card_driver_torch_and_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module, proc = tmp_path / "_cuda.so", tmp_path / "version"
    module.write_bytes(b"kernels")
    proc.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06\nGCC version: 12\n")
    monkeypatch.setattr(_kernel_table, "DRIVER", proc)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    card = types.SimpleNamespace(major=9, minor=0, multiprocessors=132)
    lib = types.SimpleNamespace(current_device=lambda: card, __file__=str(module))
    _kernel_table.driver_version.cache_clear()
    try:
        identity = _kernel_table.identity_of(lib, torch.device("cuda", 0))
        assert identity["driver"] == "NVIDIA UNIX x86_64 Kernel Module  580.65.06" and identity["card"] == "NVIDIA H100"
        assert identity["capability"] == "9.0" and len(identity["module"]) == 16
        assert table_of(lib, torch.device("cuda", 0)) is table_of(lib, torch.device("cuda", 0))
        _kernel_table.driver_version.cache_clear()
        os.remove(proc)
        assert _kernel_table.driver_version() != identity["driver"]
    finally:
        _kernel_table.driver_version.cache_clear()


def test_all_tables_are_found_for_a_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _kernel_table.known_tables() == []
    for number, card in enumerate(("old", "new")):
        table = Table({"card": card}, tmp_path / "hgfast")
        table.note("k", "c", right=True)
        table.save()
        assert table.path is not None
        os.utime(table.path, (number, number))
    assert [identity["card"] for identity, _ in _kernel_table.known_tables()] == ["new", "old"]
