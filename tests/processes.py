"""Processes that tests start: they must run the hgfast that the tests run, installed or in the checkout."""

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # noqa: F401 - before a process group exists: see World.join
import torch.distributed as dist
import torch.multiprocessing

import hgfast

PACKAGE_FOLDER = Path(hgfast.__file__).parents[1]  # as the current folder of `python -m hgfast`


def _context() -> Any:
    """Processes are forked off one that has imported torch, which takes seconds, and nothing of hgfast."""
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "cv2"])
    return context


def start(function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments) in a process, as a multiprocessing.Process that runs."""
    process = _context().Process(target=function, args=arguments)
    process.start()
    return process


def run_pair(function: Callable[..., Any], *arguments: Any) -> None:
    """function(rank, *arguments) in two processes, to their end; raises what one of them has raised."""
    _context()  # for what it preloads: torch asks for the context itself
    torch.multiprocessing.start_processes(function, arguments, nprocs=2, start_method="forkserver")


def meet(rank: int, file: str) -> None:
    """In one of a pair: one thread, torchrun's variables, and the process group, which meets in a file yet to be."""
    torch.set_num_threads(1)
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))
    patience = datetime.timedelta(seconds=120)  # where one of them fails, the other one ends too
    dist.init_process_group("gloo", f"file://{file}", timeout=patience, rank=rank, world_size=2)
