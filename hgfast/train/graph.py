"""Optimisation steps as a CUDA graph: the first few run launch by launch, then one is captured, to be replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from hgfast import _switches
from hgfast._switches import GRAPH
from hgfast.train.config import Config
from hgfast.train.parallel import World

Batch = dict[str, Tensor]
Run = Callable[[Sequence[Batch]], Tensor]

WARM_UP = 3  # steps before the capture: what is made, tried, timed or loaded once is none of the graph's


def why_not(config: Config, device: torch.device, world: World) -> str:
    """Name what keeps steps from being captured; "" if nothing does."""
    if device.type != "cuda":
        return f"the device is {device}"
    if not config.cuda_graph:
        return "cuda_graph is off"
    if GRAPH in _switches.disabled:
        return f"HGFAST_DISABLE names {GRAPH}"
    if world.size > 1:
        return "DistributedDataParallel's buckets of gradients are not captured"
    return ""


class CapturedStep:
    """A step as one CUDA graph: batches are copied in, and the loss lies where the next replay writes it again."""

    def __init__(self, run: Run, batches: Sequence[Batch], device: torch.device) -> None:
        """Capture the step, on the current stream, which is no default one. Nothing runs before the first call.

        Args:
            run: the step, which must have run here before. It returns its loss and never waits.
            batches: any of the shapes and dtypes that all are to have.
            device: where they go to.

        Raises:
            RuntimeError: CUDA refuses, or the step does.
        """
        self.inputs = [{name: torch.empty_like(v, device=device) for name, v in batch.items()} for batch in batches]
        self.graph = torch.cuda.CUDAGraph()
        # The loader's threads may pin memory meanwhile. The backward pass has a thread of its own on this very stream.
        self.graph.capture_begin(capture_error_mode="thread_local")
        try:
            self.loss = run(self.inputs)
        except BaseException:
            with suppress(RuntimeError):  # the first error says more than that it has ended the capture
                self.graph.capture_end()
            raise
        self.graph.capture_end()

    def fits(self, batches: Sequence[Batch]) -> bool:
        """Say whether these have the shapes and dtypes of the captured ones."""
        return _shapes(batches) == _shapes(self.inputs)

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Launch the step on the current stream; its loss holds until the next call."""
        for kept, given in zip(self.inputs, batches, strict=True):
            for name, value in kept.items():
                value.copy_(given[name], non_blocking=True)
        self.graph.replay()
        return self.loss


def _shapes(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    return [{name: (value.shape, value.dtype) for name, value in batch.items()} for batch in batches]


class GraphedSteps:
    """Steps on a stream of their own: the first ones of full batches launch by launch, later ones as a graph.

    Batches of other shapes, as at the end of an epoch, run launch by launch, and so does everything once CUDA has
    refused a capture.
    """

    def __init__(
        self, run: Run, full: Callable[[Sequence[Batch]], bool], device: torch.device, say: Callable[[str], Any]
    ) -> None:
        """Capture nothing yet.

        Args:
            run: a step; what changes from one to the next, but for batches, it reads from tensors.
            full: whether batches are such as most steps have.
            device: a CUDA device.
            say: is told if CUDA refuses.
        """
        self.run, self.full, self.device, self.say = run, full, device, say
        self.stream = torch.cuda.Stream(device)
        self.captured: CapturedStep | None = None
        self.refused = False
        self._warm = 0

    def __call__(self, batches: Sequence[Batch], optimizer: torch.optim.Optimizer, undo: Callable[[], None]) -> Tensor:
        """Make a step after all that the current stream holds, which then waits for it; the host does not.

        Args:
            batches: what the step is to see.
            optimizer: the step's.
            undo: is called where a capture was refused, for what the host has noted in its course.

        Returns:
            the loss, in memory of its own.
        """
        caller = torch.cuda.current_stream(self.device)
        loss = torch.empty((), device=self.device)
        self.stream.wait_stream(caller)
        try:
            with torch.cuda.stream(self.stream):
                loss.copy_(self._step(batches, optimizer, undo))
        finally:
            caller.wait_stream(self.stream)
        return loss

    def drop(self) -> None:
        """Forget the graph, before the optimizer's memory, which belongs to this stream, gives way to other memory."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        self.captured = None

    def _step(self, batches: Sequence[Batch], optimizer: torch.optim.Optimizer, undo: Callable[[], None]) -> Tensor:
        full = self.full(batches)
        if self.captured is None and not self.refused and full and self._warm >= WARM_UP:
            self._capture(batches, optimizer, undo)
        if self.captured is not None and self.captured.fits(batches):
            return self.captured(batches)
        self._warm += full
        loss = self.run(batches)
        optimizer.zero_grad(set_to_none=True)  # a graph has gradients of its own
        return loss

    def _capture(self, batches: Sequence[Batch], optimizer: torch.optim.Optimizer, undo: Callable[[], None]) -> None:
        self.stream.synchronize()
        torch.cuda.empty_cache()  # the graph's memory is its own: what the steps before had goes back first
        try:
            with _capturable(optimizer):
                self.captured = CapturedStep(self.run, batches, self.device)
        except RuntimeError as error:
            self.refused = True
            first = (str(error).splitlines() or [type(error).__name__])[0]
            self.say(f"the steps run without a CUDA graph, launch by launch: {first}")
            undo()
        finally:
            optimizer.zero_grad(set_to_none=True)


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Set the flag that torch wants in a capture and warns of elsewhere. The fused Adam counts on the device anyway."""
    before = [group.get("capturable", False) for group in optimizer.param_groups]
    try:
        for group in optimizer.param_groups:
            group["capturable"] = True
        yield
    finally:
        for group, value in zip(optimizer.param_groups, before, strict=True):
            group["capturable"] = value
