"""The processes that load batches: signals are the training process's business, errors are the data set's own."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing import connection, resource_tracker
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.data.dataset import EpochSampler, Key

Batch = dict[str, torch.Tensor]

_TO_STOP = {signal.SIGINT, signal.SIGTERM}  # a shell, SLURM and systemd send them to all processes of a run
_SECONDS_TO_DIE = 1.0  # between a broken connection and the end of the process behind it


def make_loader(dataset: Dataset[Any], sampler: EpochSampler, workers: int = 0) -> Loader:
    """Loader of batches: the fields of a sample stacked as tensors.

    Args:
        dataset: what to load: a PoseDataset, or one whose samples are like its.
        sampler: what of it, in which order.
        workers: processes that load; 0 loads where the batches are asked for. They take no notice of SIGINT and
            SIGTERM and end with the process that started them.

    Raises:
        TypeError, ValueError: another kind of argument, or a negative number of workers.
    """
    _checks.instance("make_loader", "dataset", dataset, Dataset)
    _checks.instance("make_loader", "sampler", sampler, EpochSampler)
    workers = _checks.integer("make_loader", "workers", workers, 0, 1024)
    return Loader(
        _Batches(dataset),
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_begin_worker,
        collate_fn=_stack,
    )


class Loader(DataLoader[Any]):
    """torch's loader; errors are those of the data set, with processes as without.

    Raises:
        ChildProcessError: while iterating: a loader process died.
        OSError, ValueError: while iterating: a picture is missing or broken, or shared memory is full.
    """

    _processes: Sequence[multiprocessing.process.BaseProcess] = ()
    _waiting = False

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches, one after the other."""
        with self._deaths_noticed() if self.num_workers else nullcontext():
            iterator = self._start() if self.num_workers else super().__iter__()
            while (batch := self._next(iterator)) is not None:
                yield batch

    def _start(self) -> Iterator[Any]:
        before, handler = multiprocessing.active_children(), signal.getsignal(signal.SIGCHLD)
        with self._waits(), _signals_held():
            iterator = super().__iter__()
        started = [child for child in multiprocessing.active_children() if child not in before]
        self._processes = started or self._processes  # they go on from epoch to epoch
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)  # not torch's
        return iterator

    def _next(self, iterator: Iterator[Any]) -> Batch | None:
        with self._waits():
            batch = next(iterator, None)
        if isinstance(batch, Exception):
            raise batch
        return batch

    @contextmanager
    def _waits(self) -> Iterator[None]:
        self._waiting = True
        try:
            self._check_alive()
            yield
        except (RuntimeError, EOFError, ConnectionError, FileNotFoundError):
            ended = connection.wait([process.sentinel for process in self._processes], _SECONDS_TO_DIE)
            for process in self._processes:
                if process.sentinel in ended:  # its files are closed; it may be alive for a moment more
                    process.join()
            self._check_alive()
            raise
        finally:
            self._waiting = False

    def _check_alive(self) -> None:
        dead = [process for process in self._processes if not process.is_alive()]
        if dead:
            raise ChildProcessError(_cause_of_death(dead[0].exitcode)) from None

    @contextmanager
    def _deaths_noticed(self) -> Iterator[None]:
        """Notice deaths while the next batch is waited for: torch's handler raises in the midst of whatever runs."""
        if threading.current_thread() is not threading.main_thread():
            yield  # torch looks every five seconds
            return
        before = signal.signal(signal.SIGCHLD, lambda *_: self._check_alive() if self._waiting else None)
        try:
            yield
        finally:
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def _cause_of_death(code: int | None) -> str:
    names = {
        -signal.SIGKILL: "killed (SIGKILL); the system may have run out of memory: fewer workers or a smaller cache_mb",
        -signal.SIGBUS: "ended by SIGBUS: shared memory (/dev/shm) is full; make it larger or take workers=0",
    }
    return f"a loader process was {names.get(code or 0) or f'ended (exit code {code})'}"


class _Batches(Dataset[Any]):
    """Whole batches of a data set. What it raises is passed on as a value: torch would wrap it in a page of text."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # torch leaves the length out of Dataset

    def __getitems__(self, keys: Sequence[Key]) -> list[dict[str, Any]] | Exception:
        """Return samples, or the error of one of them."""
        try:
            return [self.dataset[key] for key in keys]
        except (OSError, ValueError) as error:
            return error


def _stack(samples: list[dict[str, Any]] | Exception) -> Batch | Exception:
    if isinstance(samples, Exception):
        return samples
    try:
        return default_collate(samples)
    except RuntimeError as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        advice = (
            "make it larger (docker: --shm-size), or take fewer workers or a smaller batch_size; workers=0 needs none"
        )
        return OSError(errno.ENOSPC, f"no space left in shared memory for the loaders' batches: {advice}", "/dev/shm")


def _begin_worker(_number: int) -> None:
    cv2.setNumThreads(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _TO_STOP)  # as it is already, but for a fork server that ran before
    threading.Thread(target=_end_when_told, daemon=True).start()


def _end_when_told() -> None:
    """End this process where SIGTERM comes from the one that started it, which so ends a loader that hangs."""
    parent = multiprocessing.parent_process()
    while parent and signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
        pass
    os._exit(0)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Keep signals from the processes that start here, from their first moment on; this one gets them afterwards."""
    if multiprocessing.get_start_method() != "fork":
        resource_tracker.ensure_running()  # whose start would let go of them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
