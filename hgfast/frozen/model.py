"""The frozen network as a module: plans by input size, CUDA graphs, description, saving."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import _native
from hgfast.frozen.describe import describe_plan
from hgfast.frozen.file import load_graph, save_graph
from hgfast.frozen.graph import Graph
from hgfast.frozen.plan import Plan
from hgfast.frozen.turns import Turns
from hgfast.frozen.weights import Weights
from hgfast.models.common import check_count, check_images

MAX_PLANS = 8  # a plan holds its workspace: 18 MB for one 256x256 image of hourglass52


class FrozenModel(nn.Module):
    """A network for inference only, as :func:`hgfast.freeze` makes it or :meth:`load` reads it.

    For each batch and image size a plan is made at the first call and kept (the last MAX_PLANS of them). Calls from
    several threads, or on several CUDA streams, run one after the other. The module has no parameters; it stays on the
    device it was made for.
    """

    def __init__(
        self,
        graph: Graph,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        cuda_graph: bool = False,
        batch_sizes: Sequence[int] | None = None,
        tf32: bool | None = None,
    ) -> None:
        """Prepare; see :func:`hgfast.freeze`. tf32: whether float32 on CUDA is computed in tf32, which is three times
        as fast and has 10 bits instead of 23; by default as `torch.backends.cudnn.allow_tf32` says now."""
        super().__init__()
        self.graph, self.dtype, self.device = graph, dtype, _with_index(torch.device(device))
        self.cuda_graph, self.batch_sizes = cuda_graph, None if batch_sizes is None else tuple(batch_sizes)
        self._lib = _native.library(self.device.type)
        if self._lib is None:
            raise RuntimeError(f"freeze: there are no kernels for {self.device}: {_native.cuda_missing_reason()}")
        self.tf32 = torch.backends.cudnn.allow_tf32 if tf32 is None else tf32
        self._weights = Weights(graph, dtype, self.device, exact=not self.tf32)
        self._plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        self._graphs: dict[tuple[int, ...], CapturedPlan] = {}
        self._lock, self._turns = threading.Lock(), Turns()

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Predict heat-maps.

        Args:
            images: (N, 3, H, W), floating point, normalised as the model was trained, on this module's device; any
                layout, any batch, the sizes that the unfrozen model takes.

        Returns:
            One tensor (N, K, h, w) per stack in this module's dtype, channels_last, without gradient.

        Raises:
            TypeError: images is not a floating point tensor.
            ValueError: its shape or its device does not fit.
        """
        check_images(images, self.graph.unit, self.graph.slack)
        if _with_index(images.device) != self.device:
            raise ValueError(f"images must be on {self.device}, where the model was frozen, got {images.device}")
        images = images.to(self.dtype).contiguous(memory_format=torch.channels_last)
        with self._lock, self._turns.turn(self.device):
            plan = self._plan(*images.shape[:1], *images.shape[2:])
            if self.cuda_graph and (self.batch_sizes is None or len(images) in self.batch_sizes):
                return self._captured(plan, images)(images)
            return plan.run(images)

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """The plan for an input size, made if there is none.

        Raises:
            TypeError: a size is not an int.
            ValueError: it is less than 1, or one that the network does not take.
        """
        for name, value in (("batch", batch), ("height", height), ("width", width)):
            check_count(name, value)
        check_images(torch.empty(batch, 3, height, width, device="meta"), self.graph.unit, self.graph.slack)
        with self._lock, self._turns.turn(self.device):
            return self._plan(batch, height, width)

    def describe(self, batch: int = 1, height: int = 256, width: int = 256) -> str:
        """A table of the calls for an input size: what each fuses, shapes, GFLOP, MB, kernel."""
        return describe_plan(self.plan(batch, height, width))

    def save(self, path: str | Path) -> None:
        """Write the network to a file that :meth:`load` reads: folded weights as plain tensors, no code."""
        save_graph(self.graph, path)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> FrozenModel:
        """Read a network that :meth:`save` wrote; weights are packed again for this machine.

        Args:
            path: the file.
            **options: dtype, device, cuda_graph, batch_sizes, tf32 as the constructor takes them.

        Raises:
            ValueError: the file is no frozen network, or of a newer version.
        """
        return cls(load_graph(path), **options)

    def extra_repr(self) -> str:
        """What is in it."""
        return f"{len(self.graph.calls)} calls, {self.dtype}, {self.device}, cuda_graph={self.cuda_graph}"

    def _plan(self, batch: int, height: int, width: int) -> Plan:
        key = (batch, height, width, torch.get_num_threads() if self.device.type == "cpu" else 0)
        if key not in self._plans:
            self._plans[key] = Plan(self._lib, self.graph, self._weights, batch, height, width)
            while len(self._plans) > MAX_PLANS:
                old, _ = self._plans.popitem(last=False)
                self._graphs.pop(old[:3], None)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _captured(self, plan: Plan, images: Tensor) -> CapturedPlan:
        key = (len(images), *images.shape[2:])
        if key not in self._graphs:
            self._graphs[key] = CapturedPlan(plan, images)
        return self._graphs[key]


def _with_index(device: torch.device) -> torch.device:
    """A plain "cuda" is the device that is current now; there is only one CPU."""
    if device.type != "cuda":
        return torch.device(device.type)
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


class CapturedPlan:
    """A plan as one CUDA graph: images are copied in, heat-maps copied out."""

    def __init__(self, plan: Plan, images: Tensor) -> None:
        """Capture; images: any of the plan's size."""
        self.images = torch.empty_like(images)
        stream = torch.cuda.Stream(images.device)
        stream.wait_stream(torch.cuda.current_stream(images.device))
        with torch.cuda.stream(stream):
            plan.run(self.images.copy_(images))  # what is loaded or set once is done before the capture
        torch.cuda.current_stream(images.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.heatmaps = plan.run(self.images)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Heat-maps, in tensors of their own."""
        self.images.copy_(images)
        self.graph.replay()
        return [heatmaps.clone() for heatmaps in self.heatmaps]
