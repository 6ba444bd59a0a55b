"""Plans as CUDA graphs: captured once, on a stream and in a thread of their own, and replayed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hgfast import _native, _switches
from hgfast._switches import GRAPH
from hgfast.frozen.plan import Plan
from hgfast.frozen.torch_plan import TorchPlan

log = logging.getLogger("hgfast")
AnyPlan = Plan | TorchPlan


class CapturedPlan:
    """A plan as one CUDA graph: images are copied in, heatmaps copied out."""

    def __init__(self, plan: AnyPlan, images: Tensor, others: Sequence[Tensor] = ()) -> None:
        """Capture the plan on the current stream of the current device, which is neither a default one nor captured.

        Args:
            plan: a run of it on this stream and in this thread comes first, for what is loaded or set once.
            images, others: any of the plan's sizes.

        Raises:
            RuntimeError: CUDA refuses.
        """
        self.inputs = [torch.zeros_like(images), *(tensor.clone() for tensor in others)]
        plan.run(self.inputs[0], self.inputs[1:])
        self.graph = torch.cuda.CUDAGraph()
        # Other threads may allocate and wait meanwhile. `torch.cuda.graph` would first wait for the whole device.
        self.graph.capture_begin(capture_error_mode="thread_local")
        try:
            self.heatmaps = plan.run(self.inputs[0], self.inputs[1:])
        finally:
            self.graph.capture_end()

    def __call__(self, plan: AnyPlan, images: Tensor, others: Sequence[Tensor] = ()) -> list[Tensor]:
        """Return heatmaps in tensors of their own; plan: the one that was captured."""
        plan.note_stream(images, _native.exec_handle(images))
        for kept, given in zip(self.inputs, (images, *others), strict=True):
            kept.record_stream(torch.cuda.current_stream(images.device))
            kept.copy_(given)
        self.graph.replay()
        return [maps.clone() if isinstance(maps, Tensor) else maps for maps in self.heatmaps]


class CapturedPlans:
    """The plans of a network that run as CUDA graphs."""

    def __init__(self, wanted: bool, batch_sizes: Sequence[int] | None) -> None:
        """wanted: whether there are to be graphs at all; batch_sizes: those that get one; None for all."""
        self.wanted, self.batch_sizes = wanted, batch_sizes
        self._captured: WeakKeyDictionary[AnyPlan, CapturedPlan] = WeakKeyDictionary()
        self._refused = False

    @property
    def on(self) -> bool:
        """Whether plans run as graphs: they are wanted, and HGFAST_DISABLE does not name them."""
        return self.wanted and GRAPH not in _switches.disabled

    def will_capture(self, batch: int) -> bool:
        """Whether a new plan of this batch size is to be a graph."""
        return self.on and not self._refused and (self.batch_sizes is None or batch in self.batch_sizes)

    def run(self, plan: AnyPlan, images: Tensor, others: Sequence[Tensor] = ()) -> list[Tensor]:
        """Compute heatmaps for inputs of a plan's sizes, dtypes and device, which is the current one.

        A plan's first call runs launch by launch, and is captured afterwards. If CUDA refuses, a warning of the log
        "hgfast" says so, and from then on everything runs launch by launch.
        """
        captured = self._captured.get(plan)
        if captured is not None:
            return captured(plan, images, others)
        heatmaps = plan.run(images, others)
        if self.will_capture(len(images)):
            self._capture(plan, images, others)
        return heatmaps

    def _capture(self, plan: AnyPlan, images: Tensor, others: Sequence[Tensor]) -> None:
        """Capture in a thread of its own: a signal's handler, which may call the network, does not run in it; and
        what a refused capture leaves behind, such as the current stream, ends with the thread."""
        stream, caller = torch.cuda.Stream(images.device), torch.cuda.current_stream(images.device)
        stream.wait_stream(caller)
        try:
            with ThreadPoolExecutor(1) as thread:  # waits, whatever a handler raises: until then the plan is in use
                thread.submit(self._capture_on, stream, plan, images, others).result()
        finally:
            caller.wait_stream(stream)

    @torch.no_grad()
    def _capture_on(self, stream: torch.cuda.Stream, plan: AnyPlan, images: Tensor, others: Sequence[Tensor]) -> None:
        with torch.cuda.device(stream.device), torch.cuda.stream(stream):
            try:
                self._captured[plan] = CapturedPlan(plan, images, others)
            except RuntimeError as error:
                self._refused = True
                log.warning("a frozen network runs without CUDA graphs: %s", str(error).splitlines()[0])
