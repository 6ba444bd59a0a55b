"""One training for each folder."""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from pathlib import Path

from hgfast.train.config import ConfigError

_held: weakref.WeakValueDictionary[str, FolderLock] = weakref.WeakValueDictionary()


class FolderLock:
    """Holds a folder against other processes until it is left or forgotten, or this process ends in whatever way.

    It is a lock on the file ``.lock`` there, which goes with it. A file system without locks has none to give.
    Entered for training: only one of this process may at a time.

    Args:
        folder: made if it is not there.

    Raises:
        ConfigError: another process holds it; another training of this process has entered.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._busy = threading.Lock()
        path = folder / ".lock"
        self.let_go = weakref.finalize(self, _unlock, _lock(path), path)

    def __enter__(self) -> FolderLock:
        if not self._busy.acquire(blocking=False):
            raise ConfigError(_taken(self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._busy.release()
        self.let_go()


def hold(folder: Path) -> FolderLock:
    """Return the lock of a folder, the same one for all who ask in this process; errors as :class:`FolderLock`."""
    key = os.path.realpath(folder)
    lock = _held.get(key)
    if lock is None or not lock.let_go.alive:
        lock = _held[key] = FolderLock(folder)
    return lock


def _taken(folder: Path) -> str:
    return f"{folder}: another training is writing there; let it end or choose another output folder"


def _lock(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ConfigError(_taken(path.parent)) from None
        except OSError:  # a file system without locks
            return handle
        if path.exists() and os.path.samestat(os.fstat(handle), os.stat(path)):
            return handle
        os.close(handle)  # the one who held it has removed it meanwhile


def _unlock(handle: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(handle)


def _close_in_child() -> None:
    """Close the lock in a forked process (a loader's), which has no part in it: it may outlive this one."""
    for lock in list(_held.values()):
        found = lock.let_go.detach()
        if found:
            os.close(found[2][0])


os.register_at_fork(after_in_child=_close_in_child)
