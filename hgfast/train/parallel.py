"""Several processes that share training, evaluation or prediction, as ``torchrun`` starts them."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hgfast import _checks


@dataclass(frozen=True)
class World:
    """This process's place among those that work together; alone without ``torchrun``.

    Attributes:
        rank: number of this process, 0 .. size - 1; process 0 writes files and talks.
        size: how many there are.
        local_rank: number on this machine: which GPU is its own.
        hosts: process group (Gloo) in which processes talk without waiting for their GPUs; None: the default one.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    hosts: Any = None

    def __post_init__(self) -> None:
        _checks.integer("World", "size", self.size, 1)
        _checks.integer("World", "rank", self.rank, 0, self.size - 1)
        _checks.integer("World", "local_rank", self.local_rank, 0)

    @classmethod
    def join(cls, device_type: str, patience: timedelta | None = None) -> World:
        """Take its place from torchrun's environment variables and connects to the others (NCCL, Gloo on the CPU).

        A connection made here is closed when the process ends.

        Args:
            device_type: "cpu" or "cuda".
            patience: how long a process waits for the others before it gives up; None: torch's 10 or 30 minutes.

        Raises:
            TypeError, ValueError: no name of a kind of device, no time or none that is positive, or a variable that is
                no number.
        """
        _checks.instance("World.join", "device_type", device_type, str)
        _checks.instance("World.join", "patience", patience, timedelta, type(None))
        try:
            device_type = torch.device(device_type).type
        except RuntimeError:
            raise ValueError(f"World.join: device_type must be 'cpu' or 'cuda', got {device_type[:60]!r}") from None
        if patience is not None and patience <= timedelta():
            raise ValueError(f"World.join: patience must be positive, got {patience}")
        size = _variable("WORLD_SIZE", 1)
        if size == 1:
            return cls()
        if not dist.is_initialized():
            # DistributedDataParallel imports this; imported when a group exists, it keeps that group alive for good.
            importlib.import_module("torch._dynamo")
            dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=patience)
            atexit.register(leave)
        hosts = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo", timeout=patience)
        return cls(dist.get_rank(), size, _variable("LOCAL_RANK", 0), hosts)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """Choose the GPU of this process, where "cuda" was asked for without a number; it becomes the current one.

        What is made on "cuda" belongs there, and no process takes memory of another one's GPU.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        found = device if device.index is not None else torch.device("cuda", self.local_rank)
        torch.cuda.set_device(found)
        return found

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap the network so that gradients are averaged over processes.

        Weights that are never used have ``requires_grad`` off in hgfast's models, so nothing has to search for them.
        BatchNorm statistics stay each process's own until :meth:`average_buffers`, as in MMPose.
        """
        if self.size == 1:
            return model
        device_ids = [next(model.parameters()).device] if next(model.parameters()).is_cuda else None
        return nn.parallel.DistributedDataParallel(model, device_ids=device_ids, broadcast_buffers=False)

    def average_buffers(self, model: nn.Module) -> None:
        """Give all processes the mean of their BatchNorm statistics (MMPose's SyncBuffersHook)."""
        if self.size > 1:
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self.size

    def total(self, tensor: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Return this tensor of all processes, (size, ...) in the order of ranks."""
        if self.size == 1:
            return tensor[None]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor)
        return torch.stack(parts)

    def objects(self, value: Any) -> list[Any]:
        """Return this value of all processes, in the order of ranks; it travels pickled."""
        if self.size == 1:
            return [value]
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, value, group=self.hosts)
        return parts

    def mean(self, value: float, device: torch.device) -> float:
        """Mean over all processes."""
        if self.size == 1:
            return value
        return float(self.total(torch.tensor(value, device=device, dtype=torch.float64))) / self.size

    def highest(self, number: int) -> int:
        """Return the highest of all processes' numbers."""
        if self.size == 1:
            return number
        told = torch.tensor(number)
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self.hosts)
        return int(told)


def _variable(name: str, default: int) -> int:
    """Read a whole number among the environment variables."""
    text = os.environ.get(name, str(default))
    if not text.strip().isdecimal():
        raise ValueError(f"environment variable {name} must be a whole number, got {text!r:.80}")
    return int(text)


def leave() -> None:
    """Close the connection while Python is whole.

    Gloo's threads own the tensors of the last collective. One that lets go of them after Python has begun to shut
    down ends the process with SIGABRT (PyTorch pull request 179291). Destroying the group waits for its threads,
    once nothing else holds it: hence the collection of a trainer's reference cycles first.
    """
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()
