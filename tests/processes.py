"""Processes that tests start: they must run the hgfast that the tests run, installed or in the checkout."""

import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # noqa: F401 - before a process group exists: see World.join
import torch.distributed as dist
import torch.multiprocessing

import hgfast
from tests.ahead import ENVIRONMENT

PACKAGE_FOLDER = Path(hgfast.__file__).parents[1]  # as the current folder of `python -m hgfast`
TESTS_FOLDER = Path(__file__).parents[1]  # what `import tests` needs


def on_lesser_processors(module: str) -> dict[str, list[str]]:
    """The words that a module of tests prints on each instruction set below this processor's, all at once.

    Raises:
        AssertionError: one of them failed; with what it said.
    """
    cpu = hgfast.build_info()["cpu"]
    runs = {}
    for isa in cpu["compiled_isas"][: cpu["compiled_isas"].index(cpu["isa"])]:
        environment = {**ENVIRONMENT, "HGFAST_CPU_ISA": isa, "PYTHONPATH": str(TESTS_FOLDER), "OMP_NUM_THREADS": "1"}
        command, pipe = [sys.executable, "-m", module], subprocess.PIPE
        runs[isa] = subprocess.Popen(command, cwd=PACKAGE_FOLDER, env=environment, stdout=pipe, stderr=pipe, text=True)
    said = {isa: run.communicate() for isa, run in runs.items()}
    assert all(run.returncode == 0 for run in runs.values()), said
    return {isa: printed.split() for isa, (printed, _) in said.items()}


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
