"""Makes calls of sums, and puts all calls into the order of the network's code."""

from __future__ import annotations

import heapq

import torch
from torch import Tensor
from torch.nn import functional as F

from hgfast.frozen.coded_graph import made_by
from hgfast.frozen.graph import Call, ConvCall, Extra, Graph, PointwiseCall, PoolCall, Second, Value
from hgfast.frozen.sums import Product, Raised, Sum, paired
from hgfast.frozen.torch_call import TorchCall, raised_sum, spread
from hgfast.graph.captured import CapturedCall, Ref


class Emitter:
    """Collects the calls of a graph; each has the number of the node that it stands for."""

    def __init__(self, graph: Graph) -> None:
        """graph: without calls yet."""
        self.graph = graph
        self.calls: list[tuple[int, Call]] = []
        self.producers: dict[Value, Call] = {}

    def new_value(self) -> Value:
        """Return the number of a new value."""
        return self.graph.new_value()

    def add(self, node: int, call: Call) -> Value:
        """Add a call, and return its output."""
        self.calls.append((node, call))
        self.producers[call.output] = call
        return call.output

    def torch(self, node: int, name: str, call: CapturedCall, what: str, like: Value | None = None) -> Value:
        """Add a function of torch_call.py, which puts its result into memory that it is given."""
        return self.add(node, TorchCall(name, self.new_value(), call, what=what, like=like, into=True))

    def has_second_free(self, x: Value) -> bool:
        """Whether the call that makes x can give a BatchNorm-ReLU of it besides."""
        call = self.producers.get(x)
        return isinstance(call, (ConvCall, PoolCall)) and call.second is None

    def second(self, node: int, name: str, x: Value, scale: Tensor, shift: Tensor) -> Value:
        """relu(scale * x + shift), by the call that makes x if it can."""
        call = self.producers.get(x)
        if self.has_second_free(x):
            assert isinstance(call, (ConvCall, PoolCall))
            call.second = Second(self.new_value(), scale, shift)
            return call.second.value
        return self.add(node, PointwiseCall(name, self.new_value(), x, scale, shift, relu=True))

    def total(self, node: int, name: str, a: Value, b: Value, relu: bool, channels: int) -> Value:
        """[relu](a + b)."""
        ones = torch.ones(channels)
        return self.add(node, PointwiseCall(name, self.new_value(), a, ones, torch.zeros_like(ones), b, relu))

    def build(self, total: Sum, node: int, name: str, channels: int) -> Value:
        """Compute a sum: its convolutions one after the other, each with what was summed so far as its residual.

        What is repeated comes after them; before them where a ReLU ends it all, which a convolution gives for nothing.

        Args:
            total: the sum.
            node, name: what it is in the network.
            channels: of it.
        """
        heads, values = paired(total.products), list(total.values)
        if heads and heads[0][0].phases > 1:
            return self._spread(heads[0][0], total.relu)
        acc = values.pop(0) if values else None
        parts: list[tuple[Product, Product | None] | Raised] = [*heads, *total.raised]
        for i, value in enumerate(values):
            relu = total.relu and not parts and i == len(values) - 1
            assert acc is not None
            acc = self.total(node, name, acc, value, relu, channels)
        if total.relu and heads and (acc is not None or len(heads) > 1):
            parts.append(parts.pop(len(heads) - 1))
        for i, part in enumerate(parts):
            if isinstance(part, Raised):
                acc = (
                    self._repeated(part, node, name, channels)
                    if acc is None
                    else self._raise(part, acc, node, name, channels)
                )
            else:
                acc = self._conv(*part, acc, total.relu and i == len(parts) - 1)
        assert acc is not None
        done = bool(values) if not parts else not isinstance(parts[-1], Raised)
        if done or not total.relu:
            return acc
        ones = torch.ones(channels)
        return self.second(node, name, acc, ones, torch.zeros_like(ones))

    def _conv(
        self, main: Product, extra: Product | None, residual: Value | None, relu: bool, upsample_to: Value | None = None
    ) -> Value:
        bias, more = main.bias, None
        if extra is not None:
            bias, more = bias + extra.bias, Extra(extra.x, extra.weight.flatten(1).float(), extra.stride)
        name, output = main.name.removesuffix(".conv"), self.new_value()
        arguments = (name, output, main.x, main.weight.float(), bias.float(), main.stride, relu)
        return self.add(main.node, ConvCall(*arguments, residual, upsample_to, more))

    def _spread(self, product: Product, relu: bool) -> Value:
        """Add a transposed convolution: one with the channels of all four pixels, which then go to their places."""
        x = self._conv(product, None, None, relu)
        call = CapturedCall("function", spread, (Ref(x), product.phases))
        return self.torch(product.node, product.name, call, "pixels to their places")

    def _repeated(self, part: Raised, node: int, name: str, channels: int) -> Value:
        low = self.build(part.sum, node, name, channels)
        call = CapturedCall("function", F.interpolate, (Ref(low),), {"scale_factor": float(part.factor)})
        return self.add(node, TorchCall(name, self.new_value(), call, what="nearest upsample"))

    def _raise(self, part: Raised, to: Value | None, node: int, name: str, channels: int) -> Value:
        """Add a repeated sum to a value, if there is one, by the sum's last convolution if it is repeated 2x2."""
        total = part.sum
        if to is None:
            return self._repeated(part, node, name, channels)
        if part.factor != 2 or not total.products or len(total.values) > 1 or total.raised:
            low = total.value if total.value is not None else self.build(total, node, name, channels)
            factor = part.factor if part.exact else None
            call = CapturedCall("function", raised_sum, (Ref(to), Ref(low), factor))
            return self.torch(node, name, call, "upsampled sum", like=to)
        *heads, (main, extra) = paired(total.products)
        acc = total.values[0] if total.values else None
        for head in heads:
            acc = self._conv(*head, acc, False)
        output = self._conv(main, extra, acc, total.relu, to)
        self.graph.exact |= {output} if part.exact else set()
        return output

    def _drop_unread(self) -> None:
        """Drop what nobody reads: sizes that code asked for, for instance, which the calls know by themselves."""
        count = -1
        while count != len(self.calls):
            count, read = len(self.calls), _read(self.calls) | set(self.graph.outputs)
            self.calls = [(n, call) for n, call in self.calls if not read.isdisjoint(made_by(call))]

    def finish(self) -> Graph:
        """Return the graph, its calls in an order near that of the nodes, each after what it reads."""
        self._drop_unread()
        makers = {value: i for i, (_, call) in enumerate(self.calls) for value in made_by(call)}
        waiting = [{makers[value] for value in call.inputs() if value in makers} for _, call in self.calls]
        readers: dict[int, list[int]] = {}
        for i, needs in enumerate(waiting):
            for maker in needs:
                readers.setdefault(maker, []).append(i)
        ready = [(node, i) for i, (node, _) in enumerate(self.calls) if not waiting[i]]
        heapq.heapify(ready)
        while ready:
            _, i = heapq.heappop(ready)
            self.graph.calls.append(self.calls[i][1])
            for reader in readers.get(i, ()):
                waiting[reader].discard(i)
                if not waiting[reader]:
                    heapq.heappush(ready, (self.calls[reader][0], reader))
        return self.graph


def _read(calls: list[tuple[int, Call]]) -> set[Value]:
    return {value for _, call in calls for value in call.inputs()}
