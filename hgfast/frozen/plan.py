"""A graph made ready for one input size: kernels chosen, weights packed, memory placed, every call's arguments written.

Running a plan is a loop of native calls: nothing is allocated but the heatmaps (and what torch allocates for a call
that torch's own operator runs, see hgfast.frozen.torch_step).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hgfast import _native
from hgfast.frozen.arena import last_uses, place
from hgfast.frozen.bottleneck import fuse_bottlenecks
from hgfast.frozen.choices import Choices, Needs
from hgfast.frozen.coded_graph import CodedCall, CodedConvCall, coded_graph
from hgfast.frozen.coded_steps import CodedStepMaker
from hgfast.frozen.coded_weights import query
from hgfast.frozen.failures import report, wait
from hgfast.frozen.graph import IMAGE, BottleneckCall, ConvCall, Graph, NativeCall, Others, PlainCall, Value
from hgfast.frozen.pages import allocate
from hgfast.frozen.shapes import value_shapes
from hgfast.frozen.steps import Memory, StepMaker, block_sizes, conv_sizes
from hgfast.frozen.torch_call import TorchCall
from hgfast.frozen.torch_step import TORCH_ALONE
from hgfast.frozen.weights import Weights

if TYPE_CHECKING:
    from hgfast._library import Library


class Plan:
    """Runs a graph for images (batch, C, height, width)."""

    def __init__(
        self,
        lib: Library,
        graph: Graph,
        weights: Weights,
        batch: int,
        height: int,
        width: int,
        choices: Choices | None = None,
        others: Others = (),
    ) -> None:
        """Plan; lib is the native module of the weights' device; choices: of kernels, by default those expected best;
        others: the inputs beside the images.

        Raises:
            NoKernel: a layer has none.
        """
        self.weights, self.batch, self.dtype, self.device = weights, batch, weights.dtype, weights.device
        self.threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.choices = choices or Choices(lib, self.threads)
        self.shapes = value_shapes(graph, height, width, batch, weights, others)
        self._build(lib, graph)

    def _build(self, lib: Library, graph: Graph) -> None:
        """Choose the kernels of all calls and make them ready.

        Raises:
            NoKernel: a layer has none.
        """
        batch = self.batch
        self._whole = graph  # with the convolutions of all blocks
        self.needs: dict[Value, Needs] = {}  # by the calls' outputs
        codes: dict[Value, Value] = {}
        if self.weights.int8:
            self.graph, codes = coded_graph(graph)
            self.shapes |= {value: self.shapes[whose] for value, whose in codes.items()}
        else:
            self.graph = fuse_bottlenecks(graph, self._takes)
        for call in self.graph.calls:
            if isinstance(call, ConvCall | PlainCall):
                self.needs[call.output] = self._choose(call)
            elif isinstance(call, CodedConvCall):
                sizes = conv_sizes(call.conv, self.shapes, batch, self.dtype, self.weights.exact)
                self.needs[call.output] = query(lib, sizes, self.threads)
        by_torch = {call.output for call in self.graph.calls if isinstance(call, TorchCall) and not call.into}
        external = {IMAGE, *graph.others, *graph.outputs, *by_torch}
        sizes_of = {value: torch.uint8 if value in codes else self.dtype for value in self.shapes}
        nbytes = {value: batch * c * h * w * sizes_of[value].itemsize for value, (c, h, w) in self.shapes.items()}
        offsets, self.arena_bytes = place(self.graph, nbytes, external)
        self.arena = allocate(self.arena_bytes, self.device)
        self.workspace_bytes = max((needs.workspace_bytes for needs in self.needs.values()), default=0)
        self.workspace = torch.zeros(self.workspace_bytes, dtype=torch.uint8, device=self.device)
        memory = Memory(batch, self.dtype, self.shapes, external, offsets, self.arena, self.workspace, codes)
        maker = CodedStepMaker if self.weights.int8 else StepMaker
        self.maker = maker(lib, self.weights, memory, self.threads)
        self.steps = [self.maker.make(call, self.needs.get(call.output)) for call in self.graph.calls]
        self._own_outputs = [value for value in graph.outputs if value not in by_torch]
        self._ends = _last_uses(self.graph, by_torch)
        self._streams: set[int] = set()

    def run(self, images: Tensor, others: Sequence[Tensor] = ()) -> list[Any]:
        """Compute the graph's outputs for inputs of this plan's sizes, dtypes and device; maps are in channels_last."""
        tensors: dict[Value, Any] = {IMAGE: images, **dict(zip(self.graph.others, others, strict=True))}
        tensors |= self.new_outputs()
        self.launch(tensors)
        return [tensors[value] for value in self.graph.outputs]

    def new_outputs(self) -> dict[Value, Tensor]:
        """Memory for the outputs that kernels make."""
        like: dict[str, Any] = {"dtype": self.dtype, "device": self.device, "memory_format": torch.channels_last}
        return {value: torch.empty((self.batch, *self.shapes[value]), **like) for value in self._own_outputs}

    def launch(self, tensors: dict[Value, Any]) -> None:
        """Launch all calls, on the given tensors for the external values; torch's are added as long as they count."""
        exec_handle = _native.exec_handle(tensors[IMAGE])
        self.note_stream(tensors[IMAGE], exec_handle)
        given = dict(tensors)
        for index, (step, ends) in enumerate(zip(self.steps, self._ends, strict=True)):
            try:
                step.run(tensors, exec_handle)
            except (RuntimeError, ValueError) as error:
                self._replace(index, error)
                tensors.clear()
                tensors.update(given)
                return self.launch(tensors)
            for value in ends:
                del tensors[value]

    def note_stream(self, images: Tensor, exec_handle: int) -> None:
        """Let others have what the plan holds, once it is dropped, only when this stream is done with it."""
        if images.is_cuda and exec_handle not in self._streams:
            self._streams.add(exec_handle)
            stream = torch.cuda.current_stream(images.device)
            for tensor in (self.arena, self.workspace, *self.weights.tensors()):
                tensor.record_stream(stream)

    def native_calls(self) -> list[NativeCall]:
        """Return the calls that kernels run."""
        return [call for call in self.graph.calls if not isinstance(call, TorchCall | CodedCall)]

    def _choose(self, call: ConvCall | PlainCall) -> Needs:
        if isinstance(call, PlainCall):
            return self.choices.plain(call, self.shapes, self.batch, self.dtype)
        return self.choices.conv(call, conv_sizes(call, self.shapes, self.batch, self.dtype, self.weights.exact))

    def _replace(self, index: int, error: RuntimeError | ValueError) -> None:
        """Put the next kernel in the place of one that could not be launched; a block's may be its three convolutions.

        Raises:
            RuntimeError, ValueError: that error, where it is not that kernel's.
        """
        call = self.steps[index].call
        needs = None if isinstance(call, TorchCall) else self.needs[call.output]
        capturing = self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        mine = self.choices.listed and not capturing and not isinstance(error, torch.OutOfMemoryError)
        if not mine or needs is None or needs.algorithm == TORCH_ALONE.algorithm:
            raise error
        assert isinstance(call, NativeCall)
        wait(self.device)
        name = self.choices.names[call.output]
        self.choices.turn_away(needs, name, f"{type(error).__name__}: {error}")
        if isinstance(call, BottleneckCall):
            other: Needs | None = self.choices.block(call, block_sizes(call, self.shapes, self.batch, self.dtype))
        else:
            other = self._choose(call)
        report(self.choices, needs, name, f"{type(error).__name__}: {error}", self.device)
        if other is None:
            return self._build(self.maker.lib, self._whole)
        self.needs[call.output] = other
        self.steps[index] = self.maker.with_workspace(other.workspace_bytes).make(call, other)

    def _takes(self, call: BottleneckCall) -> bool:
        """Whether a kernel for the whole block is chosen; what it needs is noted."""
        needs = self.choices.block(call, block_sizes(call, self.shapes, self.batch, self.dtype))
        if needs is None:
            return False
        self.needs[call.output] = needs
        return True


def _last_uses(graph: Graph, by_torch: set[Value]) -> list[list[Value]]:
    """List for each call the values of torch's that nobody reads any more after it."""
    last, ends = last_uses(graph), [list[Value]() for _ in graph.calls]
    for value in by_torch - set(graph.outputs):
        ends[last[value]].append(value)
    return ends
