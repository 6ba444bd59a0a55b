"""A graph run by PyTorch's own operators: where a device has no kernels, or a network a layer that they do not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hgfast.frozen.graph import IMAGE, BottleneckCall, Call, ConvCall, Graph, Others, PointwiseCall, Second, Value
from hgfast.frozen.shapes import value_shapes
from hgfast.frozen.torch_call import TorchCall
from hgfast.frozen.weights import Weights
from hgfast.reference.conv2d import conv2d
from hgfast.reference.upsample_add import upsample_add


class TorchPlan:
    """Runs a graph for images (batch, C, height, width) as :class:`hgfast.frozen.plan.Plan` does, call by call."""

    def __init__(
        self, graph: Graph, weights: Weights, batch: int, height: int, width: int, reason: str, others: Others = ()
    ) -> None:
        """reason: why there are no kernels for it; others: the inputs beside the images."""
        self.graph, self.weights, self.reason = graph, weights, reason
        self.batch, self.shapes = batch, value_shapes(graph, height, width, batch, weights, others)
        self.last_use: dict[Value, int] = {}
        for i, call in enumerate(graph.calls):
            self.last_use |= dict.fromkeys(call.inputs(), i)
        self.last_use |= dict.fromkeys(graph.outputs, len(graph.calls))

    def run(self, images: Tensor, others: Sequence[Tensor] = ()) -> list[Any]:
        """Compute the outputs for inputs of this plan's sizes, dtypes and device, dense in channels_last order."""
        with torch.autocast(images.device.type, enabled=False):
            return self._run(images, others)

    def _run(self, images: Tensor, others: Sequence[Tensor]) -> list[Any]:
        values: dict[Value, Any] = {IMAGE: images, **dict(zip(self.graph.others, others, strict=True))}
        for i, call in enumerate(self.graph.calls):
            result = self._call(call, values)
            values[call.output] = result
            if call.second is not None:
                values[call.second.value] = self._second(call.second, result)
            for value in [value for value in values if self.last_use.get(value, i) <= i]:
                del values[value]
        self.note_stream(images, 0)
        return [
            values[value].contiguous(memory_format=torch.channels_last) if value in self.shapes else values[value]
            for value in self.graph.outputs
        ]

    def note_stream(self, images: Tensor, exec_handle: int) -> None:
        """Let others have what the plan holds, once it is dropped, only when the current stream is done with it."""
        if images.is_cuda:
            for tensor in self.weights.tensors():
                tensor.record_stream(torch.cuda.current_stream(images.device))

    def _call(self, call: Call, values: dict[Value, Any]) -> Any:
        assert not isinstance(call, BottleneckCall), "graphs are built without them"
        if isinstance(call, TorchCall):
            return call.run(values, self.weights)
        if isinstance(call, PointwiseCall):
            return self._pointwise(call, values)
        if not isinstance(call, ConvCall):
            return F.max_pool2d(values[call.x], 2)
        weight, bias = self.weights.plain(call.weight), self.weights.plain(call.bias)
        result = conv2d(values[call.x], weight, bias, call.stride)
        if call.extra is not None:
            shortcut = self.weights.plain(call.extra.weight)[..., None, None]
            result = result + F.conv2d(values[call.extra.value], shortcut, None, call.extra.stride)
        if call.residual is not None:
            result = result + values[call.residual]
        if call.relu:
            result = F.relu(result)
        return result if call.upsample_to is None else upsample_add(values[call.upsample_to], result)

    def _pointwise(self, call: PointwiseCall, values: dict[Value, Any]) -> Tensor:
        scale, shift = (self.weights.plain(vector)[:, None, None] for vector in (call.scale, call.shift))
        result = values[call.x] * scale + shift
        if call.residual is not None:
            result = result + values[call.residual]
        return F.relu(result) if call.relu else result

    def _second(self, second: Second, result: Tensor) -> Tensor:
        scale, shift = (self.weights.plain(vector)[:, None, None] for vector in (second.scale, second.shift))
        return F.relu(result * scale + shift)

    def describe(self) -> str:
        """Why it is PyTorch that runs, and what."""
        return f"{len(self.graph.calls)} calls by PyTorch for batch {self.batch}: {self.reason}"
