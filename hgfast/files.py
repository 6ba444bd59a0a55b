"""Files that are never half written: a temporary file beside the target, synced, then renamed over it.

A link stays a link: what it points to is replaced. What is no regular file (a device, a pipe, /dev/stdout) is written
to and never replaced.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import math
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hgfast import _checks

_WRITERS = 64  # of one target at a time; each has a temporary file, numbered from 0


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Binary file for writing that takes the place of ``path`` only when the block ends without an error.

    Whoever reads ``path`` at any moment, also after a crash or power cut, finds the old content or the new one whole.
    An existing file keeps its permissions. What is not a regular file gets the content at the end of the block.

    Raises:
        TypeError, ValueError: not a path.
        OSError: it cannot be written; ``filename`` is the path, also where the disk is full.
    """
    path = _checks.path("", "path", path)
    old = _status(path)
    direct = _written_directly(path, old)
    if direct is not None:
        with _naming(path), tempfile.TemporaryFile() as content:
            yield content
            content.seek(0)
            _write_directly(direct, content)
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        temporary, raw = _open_temporary(target)
    file = io.BufferedWriter(raw)
    try:
        with _naming(path, raw):
            yield file
            file.flush()
            if old is not None:
                _keep_owner_and_mode(raw.fileno(), old)
            os.fsync(raw.fileno())
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        raw.close()  # without a flush of what could not be written; it also gives back the lock
    _sync_folder(target.parent)


def write_text(path: str | Path, text: str) -> None:
    r"""Write UTF-8 text by :func:`atomic_write`; what a file name has that is not becomes ``\udcxx``."""
    with atomic_write(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write JSON by :func:`atomic_write`; NaN and infinities, which JSON does not have, become null."""
    try:
        text = json.dumps(content, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(content), indent=indent)
    write_text(path, text + "\n")


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def check_writable(path: str | Path) -> None:
    """Raise OSError where :func:`atomic_write` could not write, to be asked before long work; writes nothing."""
    path = _checks.path("", "path", path)
    direct = _written_directly(path, _status(path))
    place = Path(os.path.realpath(path)).parent if direct is None else direct
    while isinstance(place, Path) and not place.exists():
        place = place.parent
    if isinstance(place, Path) and not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


class _Raw(io.FileIO):
    """Keeps the error of a write: what writes through it (torch.save) may raise one of its own that says less."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def _naming(path: Path, raw: _Raw | None = None) -> Iterator[None]:
    """Give errors of the operating system the name of the file."""
    try:
        yield
    except Exception as error:
        known = raw.failure if raw is not None and raw.failure is not None else error
        if not isinstance(known, OSError) or (raw is not None and known.filename is not None):
            raise
        if known.errno is None:  # numpy's "8192 requested and 0 written"
            raise OSError(f"{path}: {known}" if str(path) not in str(known) else str(known)) from None
        raise OSError(known.errno, os.strerror(known.errno), str(path)) from None


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _written_directly(path: Path, old: os.stat_result | None) -> Path | int | None:
    """Return what is no regular file: the path, or the descriptor that a name like /dev/stdout stands for."""
    open_file = _open_file(path)
    if open_file is not None or old is None or stat.S_ISREG(old.st_mode):
        return open_file
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path


def _open_file(path: Path) -> int | None:
    for _ in range(40):  # as many links as Linux follows
        if path.name.isdigit() and os.path.realpath(path.parent) == f"/proc/{os.getpid()}/fd":
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
    return None


def _write_directly(where: Path | int, content: BinaryIO) -> None:
    """To a descriptor's file where it stands, without cutting off what the program has printed there."""
    if isinstance(where, int):
        sys.stdout.flush()
        where = os.dup(where)
    with open(where, "wb") as file:
        shutil.copyfileobj(content, file)


def _open_temporary(target: Path) -> tuple[Path, _Raw]:
    """Open a new locked file beside the target; what killed writers of this target have left is removed.

    The lock tells living writers from dead ones, on other machines too. Where a file system has no locks, all count
    as living.
    """
    stem = os.fsdecode(os.fsencode(target.name)[:240])  # names have 255 bytes at most
    names = [target.with_name(f".{stem}.{number}.tmp") for number in range(_WRITERS)]
    for name in names:
        _remove_if_left(name)
    for name in names:
        try:
            raw = _Raw(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb")
        except FileExistsError:
            continue
        locked = _lock(raw.fileno())
        if locked is not False and os.fstat(raw.fileno()).st_nlink:
            return name, raw
        raw.close()  # another one took it for left over before it was locked
    raise OSError(errno.EBUSY, f"{_WRITERS} others are writing it", str(target))


def _remove_if_left(name: Path) -> None:
    try:
        handle = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # mostly: there is none
        return
    try:
        # its writer may have renamed it since, and another one made a new file of this name
        if _lock(handle) and name.exists() and os.path.samestat(os.fstat(handle), os.stat(name)):
            name.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock a file: True if it is locked now, False if another one holds the lock, None without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _keep_owner_and_mode(handle: int, old: os.stat_result) -> None:
    try:
        os.fchown(handle, old.st_uid, old.st_gid)
    except OSError:  # only root can give files away
        pass
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; file systems that cannot sync a folder do without."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
