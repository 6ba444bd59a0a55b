"""A graph of torch.compile's lowered for inputs of certain sizes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode

from hgfast.dynamo.subgraph import Subgraph, capture
from hgfast.dynamo.weights import Numbers, Same, Versions
from hgfast.frozen.assemble import assemble
from hgfast.frozen.flow import Flow, observe
from hgfast.frozen.freeze import allowed_error
from hgfast.frozen.graph import ConvCall
from hgfast.frozen.model import FrozenModel
from hgfast.graph import ops
from hgfast.graph.captured import CapturedGraph, refs, replaced

MOST_SETS = 64  # of weights: a graph is shared by all modules of one class


class Unfit(ValueError):
    """A graph is none for hgfast's kernels; the message says why."""


class Differs(RuntimeError):
    """A lowered graph gives something else than eager."""


@dataclass
class Folded:
    """A frozen network, and the weights that are folded into it."""

    weights: Same
    numbers: Numbers | Versions
    frozen: FrozenModel


class LoweredGraph:
    """Runs it; weights are folded anew when they have changed."""

    def __init__(
        self, graph_module: fx.GraphModule, weights: Sequence[int], values: Sequence[Any], checks_weights: str
    ) -> None:
        """Lower.

        Args:
            graph_module: torch's functions.
            weights: which of its inputs are weights.
            values: the inputs of a call.
            checks_weights: one of hgfast.dynamo.run.CHECKS.

        Raises:
            Unfit: kernels have no part in it, or it writes into its inputs, or gives them.
        """
        self.weights, self.checks = list(weights), Numbers if checks_weights == "numbers" else Versions
        self.inputs = [i for i, value in enumerate(values) if isinstance(value, Tensor) and i not in set(weights)]
        self.subgraph = capture(graph_module, self.weights, values)
        self.image = _image(self.subgraph, [values[i] for i in self.inputs])
        images = values[self.inputs[self.image]]
        if any(values[i].dtype != images.dtype for i in self.weights):
            raise Unfit("its parameters are of another dtype than its images")
        self.channels, self.dtype, self.device = images.shape[1], images.dtype, images.device
        self.flow, self.strides = self._observed(values)
        self._folded: OrderedDict[tuple[int, ...], Folded] = OrderedDict()
        if not any(isinstance(call, ConvCall) for call in self._fold(values).frozen.graph.calls):
            raise Unfit("no kernel takes any of its convolutions")

    def __call__(self, values: Sequence[Any]) -> Any:
        """Compute the graph's results: tensors of the strides that eager gives them."""
        frozen = self._current(values).frozen
        inputs = [values[i] for i in self.inputs]
        images = inputs.pop(self.image)
        images, *inputs = (frozen.as_read(tensor) for tensor in (images, *inputs))
        outputs = frozen.outputs(images, inputs)
        for place, node in zip(refs(frozen.graph.result), refs(self.flow.result), strict=True):
            if node in self.strides:
                outputs[place] = _strided(outputs[place], self.strides[node])
        return replaced(frozen.graph.result, lambda ref: outputs[ref.value])

    def compare(self, values: Sequence[Any], expected: Sequence[Any]) -> None:
        """Hold the results for a call against eager's.

        Raises:
            Differs: they differ.
        """
        allowed = allowed_error(self._current(values).frozen)
        for i, (a, b) in enumerate(zip(self(values), expected, strict=True)):
            if not isinstance(b, Tensor):
                if a != b:
                    raise Differs(f"result {i} is {a}, eager's {b}")
            elif (a.shape, a.dtype, a.stride()) != (b.shape, b.dtype, b.stride()):
                raise Differs(f"result {i} is {a.dtype} {tuple(a.shape)}, eager's {b.dtype} {tuple(b.shape)}")
            elif b.is_floating_point():
                finite = b.isfinite()
                error = torch.where(finite, a - b, 0).double().norm() / torch.where(finite, b, 0).double().norm()
                if not error.nan_to_num() <= allowed or not bool((finite == a.isfinite()).all()):
                    raise Differs(f"result {i} differs from eager's by {error.item():.2e} (relative)")

    def _observed(self, values: Sequence[Any]) -> tuple[Flow, dict[int, tuple[int, ...]]]:
        """Return what a run without numbers shows, and the strides of the tensors that it gives, by their nodes."""
        captured, numbers = self.subgraph.captured, self.subgraph.inputs
        with FakeTensorMode(allow_non_fake_inputs=True):
            fakes = {i: _fake(value) for i, value in enumerate(values) if isinstance(value, Tensor)}
            self.subgraph.put([fakes[i] for i in self.weights])
            given = {number: fakes[i] for number, i in zip(numbers, self.inputs, strict=True)}
            flow = observe(self.subgraph.root, captured, given, numbers[self.image])
        if any(fake._version for fake in fakes.values()):
            raise Unfit("it writes into what it is given")
        tensors = [*fakes.values(), *flow.given.values()]
        if len({tensor.untyped_storage()._cdata for tensor in tensors}) < len(tensors):
            raise Unfit("its results share memory with one another, or with what it is given")
        strides = {node: tensor.stride() for node, tensor in flow.given.items()}
        flow.given.clear()
        return flow, strides

    def _current(self, values: Sequence[Any]) -> Folded:
        """Freeze the network with the weights as they are."""
        weights = [values[i] for i in self.weights]
        found = self._folded.get(tuple(map(id, weights)))
        if found is None or not found.weights.are(weights) or not found.numbers.are(weights):
            with torch.inference_mode(False), torch.no_grad():
                found = self._fold(values)
        self._folded.move_to_end(tuple(map(id, weights)))
        return found

    def _fold(self, values: Sequence[Any]) -> Folded:
        weights, others = [values[i] for i in self.weights], list(self.subgraph.inputs)
        image = others.pop(self.image)
        self.subgraph.put(weights)
        try:
            flow = self.flow
            graph = assemble(
                self.subgraph.root, self.subgraph.captured, flow, image, others, self.channels, flow.result
            )
        finally:
            self.subgraph.put([None] * len(weights))
        graph.unit, graph.slack, graph.any_size = 1, 0, True  # plans check their sizes, of which there is one
        folded = Folded(Same(weights), self.checks(weights), FrozenModel(graph, self.dtype, self.device))
        self._folded[tuple(map(id, weights))] = folded
        while len(self._folded) > MOST_SETS:
            self._folded.popitem(last=False)
        return folded


def _image(subgraph: Subgraph, tensors: Sequence[Tensor]) -> int:
    """Return which input has the maps' batch and dtype: the first that a convolution reads."""
    captured: CapturedGraph = subgraph.captured
    read = [node.inputs[0] for node in captured.nodes if isinstance(node.op, (ops.Conv, ops.Deconv))]
    numbers = [number for number in read if number in subgraph.inputs] + subgraph.inputs
    for number in numbers:
        place = subgraph.inputs.index(number)
        if tensors[place].dim() == 4 and tensors[place].is_floating_point():
            return place
    raise Unfit("it takes no maps")


def _fake(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)


def _strided(tensor: Tensor, strides: tuple[int, ...]) -> Tensor:
    if tensor.stride() == strides or tensor.numel() == 0:
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
