"""An example of what a network takes: which of its tensors is the image, and what calls of the frozen form must be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from hgfast import _checks as checks
from hgfast.frozen.arguments import ANY, Arguments, Input, matched, named
from hgfast.graph import CapturedGraph, Ref, ops
from hgfast.graph.tracer import example_of, forward_of

Sizes = dict[int, list[tuple[int, int]]]
"""The least and the largest of each dimension, by node."""


class Given:
    """The tensors of an example.

    Attributes:
        tensors: by the numbers of their nodes in the captured graph.
        image: the node of the one whose batch and dtype maps have: the first that a convolution reads, or the first.
        others: the nodes of the others, in their order.
        alone: the network takes one tensor, and nothing else was given.
        arguments: what the frozen network takes.
    """

    def __init__(self, model: nn.Module, captured: CapturedGraph, example: Any, sizes: Sizes | None = None) -> None:
        """Look at an example.

        Args:
            model: what was captured.
            captured: its graph.
            example: what it was captured with.
            sizes: by node, the sizes that a tensor may have; None for any, of maps with as many channels.

        Raises:
            TypeError: none of the tensors is an image (N, C, H, W).
        """
        given, self.tensors = example_of(forward_of(model), example), dict[int, Tensor]()
        self.sizes = sizes or {}
        names = dict[int, str]()
        for name, part in captured.inputs.items():
            names |= dict(named(name, part))
            for node, tensor in matched(name, part, given[name]):
                checks.instance("freeze", names[node], tensor, Tensor)
                self.tensors[node] = tensor
        self.image = self._image(captured, type(model).__name__)
        self.others = [node for node in self.tensors if node != self.image]
        self.alone = not self.sizes and list(captured.inputs.values()) == [Ref(self.image)]
        places = {node: place for place, node in enumerate((self.image, *self.others))}
        self.arguments = Arguments(inputs=[self._input(names[node], node) for node in places])
        for name, parameter in list(inspect.signature(forward_of(model)).parameters.items())[1:]:
            if name in captured.inputs:
                part = filled(captured.inputs[name], lambda node: Ref(places[node]))
            elif isinstance(parameter.default, (int, float, str, type(None))):
                part = parameter.default
            else:
                continue
            self.arguments.structure[name], self.arguments.kinds[name] = part, int(parameter.kind)

    def _image(self, captured: CapturedGraph, name: str) -> int:
        maps = [node for node, x in self.tensors.items() if x.dim() == 4 and x.is_floating_point()]
        read = [node.inputs[0] for node in captured.nodes if isinstance(node.op, (ops.Conv, ops.Deconv))]
        found = [node for node in read if node in maps] + maps
        if not found:
            raise TypeError(f"freeze: model must take images (N, C, H, W), there are none in the example for {name}")
        return found[0]

    def _input(self, name: str, node: int) -> Input:
        tensor = self.tensors[node]
        like_images = tensor.dtype == self.tensors[self.image].dtype
        sizes = list(self.sizes.get(node, [ANY] * tensor.dim()))
        if not self.sizes and tensor.dim() == 4 and tensor.is_floating_point():
            sizes[1] = (tensor.shape[1], tensor.shape[1])
        return Input(name, tuple(sizes), None if like_images else tensor.dtype)


def filled(part: Any, change: Callable[[int], Any]) -> Any:
    """Return a structure of arguments with each Ref changed."""
    if isinstance(part, Ref):
        return change(part.value)
    if isinstance(part, dict):
        return {key: filled(item, change) for key, item in part.items()}
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        return type(part)(*(filled(item, change) for item in part))
    if isinstance(part, (tuple, list)):
        return type(part)(filled(item, change) for item in part)
    return part
