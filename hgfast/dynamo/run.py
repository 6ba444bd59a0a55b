"""Runs a graph of torch.compile's by frozen networks: one for each size of its inputs and each set of weights."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from hgfast.dynamo.lowered import LoweredGraph, Unfit
from hgfast.dynamo.subgraph import is_number, is_weight

log = logging.getLogger("hgfast")
CHECKS = ("numbers", "versions")
MOST_SIZES = 8


class Runner:
    """What torch.compile calls in place of a graph."""

    def __init__(self, graph_module: fx.GraphModule, known: fx.GraphModule, checks_weights: str) -> None:
        """known: the graph in functions that a lowering knows; checks_weights: one of CHECKS."""
        self.graph_module, self.known, self.checks_weights = graph_module, known, checks_weights
        self.weights: list[int] = []
        self.numbers: set[int] = set()
        self._lowered: OrderedDict[tuple[Any, ...], LoweredGraph | None] = OrderedDict()
        self._lock = threading.RLock()

    def prepare(self, example_inputs: Sequence[Any]) -> None:
        """Lower the graph for the inputs of the first call.

        Raises:
            Unfit: it has no lowered form that would be right or worth it.
            Exception: what a part of the lowering did not expect.
        """
        placeholders = [node for node in self.known.graph.nodes if node.op == "placeholder"]
        pairs = list(enumerate(zip(placeholders, example_inputs, strict=True)))
        self.weights = [i for i, (node, value) in pairs if is_weight(node, value)]
        self.numbers = {i for i, (node, value) in pairs if is_number(node, value)}
        given = [value.node.hint if isinstance(value, torch.SymInt) else value for value in example_inputs]
        values = self._plain(given)
        self._lowered[self._key(values)] = self._lower(values, given)

    def __call__(self, *given: Any) -> Any:
        """Compute the graph's results."""
        with self._lock:
            values = self._plain(given)
            lowered = self._find(values, given)
            return self.graph_module(*given) if lowered is None else lowered(values)

    def _plain(self, given: Sequence[Any]) -> Sequence[Any]:
        """Return what is given, with the numbers in the place of tensors that they are taken from."""
        if not self.numbers:
            return given
        return [value.item() if i in self.numbers else value for i, value in enumerate(given)]

    def _find(self, values: Sequence[Any], given: Sequence[Any]) -> LoweredGraph | None:
        key = self._key(values)
        if key not in self._lowered:
            try:
                self._lowered[key] = self._lower(values, given)
            except Exception as error:  # the graph runs as well without
                why = next(iter(str(error).splitlines()), "")
                log.warning("a graph of torch.compile's runs by eager at one size: %s: %s", type(error).__name__, why)
                self._lowered[key] = None
            while len(self._lowered) > MOST_SIZES:
                self._lowered.popitem(last=False)
        self._lowered.move_to_end(key)
        return self._lowered[key]

    def _lower(self, values: Sequence[Any], given: Sequence[Any]) -> LoweredGraph:
        with torch._guards.tracing(None), torch.inference_mode(False), torch.no_grad():
            lowered = LoweredGraph(self.known, self.weights, values, self.checks_weights)
            lowered.compare(values, self.graph_module(*given))
        return lowered

    def _key(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return what a lowered form is made for; weights change without a new one."""
        weights = set(self.weights)
        return torch.backends.cudnn.allow_tf32, *(
            (tuple(value.shape), value.stride(), value.dtype, value.device) if isinstance(value, Tensor) else value
            for i, value in enumerate(values)
            if i not in weights
        )


__all__ = ["CHECKS", "Runner", "Unfit"]
