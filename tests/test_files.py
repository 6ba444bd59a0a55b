"""Output files: whole or not at all, and nothing else lost on the way."""

import os
import resource
import signal
import stat
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from hgfast.files import atomic_write, check_writable, write_text
from tests.processes import start


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to("disk/real.json")
    for text in ("made through the link", "replaced"):
        write_text(link, text)
        assert link.is_symlink() and (tmp_path / "disk" / "real.json").read_text() == text
    assert os.listdir(tmp_path / "disk") == ["real.json"]


def test_permissions_of_an_existing_file_stay(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o640)
    write_text(path, "new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_pipe_is_written_to(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_text()), daemon=True)
    reader.start()
    write_text(path, "through")
    reader.join(10)
    assert got == ["through"] and stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_stays_a_device():
    before = os.stat("/dev/full")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write_text("/dev/full", "text")
    assert (os.stat("/dev/full").st_rdev, stat.S_ISCHR(os.stat("/dev/full").st_mode)) == (before.st_rdev, True)


def print_and_write(name, out):
    os.dup2(os.open(out, os.O_WRONLY), 1)
    sys.stdout = open(1, "w", closefd=False)
    print("first")
    write_text(name, "second\n")
    print("third")
    sys.stdout.flush()


@pytest.mark.parametrize(("name", "into"), [("/dev/stdout", "a file"), ("/dev/fd/1", "a pipe")])
def test_standard_output_gets_it_after_what_was_printed(name, into, tmp_path):
    out = tmp_path / "out"
    os.mkfifo(out) if into == "a pipe" else out.touch()
    reader = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
    process = start(print_and_write, name, out)
    process.join(60)
    assert process.exitcode == 0 and os.read(reader, 100) == b"first\nsecond\nthird\n"
    os.close(reader)
    assert os.listdir(tmp_path) == ["out"]


def die_while_writing(path):
    child = os.fork()
    if not child:
        with atomic_write(path) as file:
            file.write(b"x" * 100_000)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_the_next_save_removes_what_killed_ones_left(tmp_path):
    path, other = tmp_path / "last.pt", tmp_path / "other.pt"
    path.write_text("old")
    die_while_writing(other)
    with atomic_write(path) as file:  # a living writer of the same file is left alone
        file.write(b"slow")
        die_while_writing(path)
        assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 4
        write_text(path, "quick")
        assert path.read_text() == "quick" and len(os.listdir(tmp_path)) == 3
    assert path.read_text() == "slow"
    write_text(other, "done")
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "other.pt"]


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    path, errors = tmp_path / "a", []

    def write(letter):
        try:
            for _ in range(20):
                write_text(path, letter * 30_000)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = path.read_text()
    assert not errors and len(text) == 30_000 and len(set(text)) == 1 and os.listdir(tmp_path) == ["a"]


@contextmanager
def files_of_at_most(size):
    """Stands in for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write(bytes(200_000)),
        lambda file: torch.save(torch.zeros(50_000), file),
        lambda file: np.save(file, np.zeros(50_000)),
    ],
    ids=["bytes", "torch", "numpy"],
)
def test_a_full_disk_is_an_error_that_names_the_file(write, tmp_path):
    path = tmp_path / "a.bin"
    path.write_text("old")
    with files_of_at_most(65536), pytest.raises(OSError, match=r"a\.bin"), atomic_write(path) as file:
        write(file)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.bin"]


def test_long_names_and_names_that_are_not_utf8(tmp_path):
    for name in ("n" * 255, os.fsdecode(b"b\xfcld.json"), "a b\n.json"):
        write_text(tmp_path / name, name)
        assert (tmp_path / name).read_bytes() == name.encode(errors="backslashreplace")
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("check", [check_writable, lambda path: write_text(path, "")])
def test_what_cannot_be_written(check, tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "loop").symlink_to("loop")
    for path, error in (
        (tmp_path, IsADirectoryError),
        (tmp_path / "file" / "a.json", NotADirectoryError),
        (tmp_path / "loop", OSError),
        ("", ValueError),
        ("a\0b", ValueError),
        (3, TypeError),
    ):
        with pytest.raises(error):
            check(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"] and (tmp_path / "file").read_text() == "kept"
    assert check(tmp_path / "new" / "deep" / "a.json") is None
