"""From a network to the graph of its frozen form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from hgfast.frozen.assemble import assemble
from hgfast.frozen.find import find, is_exported
from hgfast.frozen.flow import Flow, Tangled, observe
from hgfast.frozen.given import Given, filled
from hgfast.frozen.graph import Graph
from hgfast.frozen.modes import unchanged
from hgfast.graph import CapturedGraph, Ref, ops
from hgfast.graph.captured import refs, tensor_at
from hgfast.graph.tracer import as_call, forward_of

SIZES = ((128, 192), (64, 64), (128, 128), (256, 256), (224, 224), (256, 192), (192, 192), (384, 288), (512, 512))
"""Height and width of the images that are tried until the network takes one: first such that no map is as large as
another one by chance, as those of 64x64 pixels are where they are down to 1x1."""
BATCH = 2  # of these images: a number that shows which values are one for each image


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside DataParallel and DistributedDataParallel."""
    while isinstance(model, (DataParallel, DistributedDataParallel)):
        model = model.module
    return model


def build_graph(model: nn.Module, example: Any = None) -> Graph:
    """Return the graph of a network; see :class:`Built`."""
    return Built(model, example).graph


class Built:
    """A network, what was captured of it, and its frozen form.

    Attributes:
        model: what is run: the network inside wrappers, with MMPose's head behind the backbone.
        args, kwargs: what the network was run with, for the frozen form.
        tensors: the same, by the numbers of the nodes of the captured graph.
        nhwc: it takes images (N, H, W, 3); its frozen form takes (N, 3, H, W) all the same.
        expected: what the model gives for them.
        graph: the frozen form.
    """

    def __init__(self, model: Any, example: Any = None) -> None:
        """Capture, run and lower.

        Args:
            model: the network, or a program of torch.export.
            example: what it takes: images, or its arguments as a tuple or as a dict by name; by default random images
                of a size that it takes.

        Raises:
            TypeError: it takes no image, or further tensors and there is no example.
            ValueError: it has no frozen form; the message says where.
        """
        given = (example,) if isinstance(example, Tensor) else example
        found = find(model if is_exported(model) else unwrapped(model), given)
        self.model, self.captured = found.model, found.captured
        given = found.example if given is None else given
        self.given = None if given is None else Given(self.model, self.captured, given, found.sizes)
        self.input = self.given.image if self.given else _image_input(self.captured, type(model).__name__)
        self.nhwc = (self.given is None or self.given.alone) and _is_nhwc(self.captured, self.input)
        self.channels = _channels(self.model, self.captured)
        self.requirement = next((n.op for n in self.captured.nodes if isinstance(n.op, ops.Requirement)), None)
        with torch.inference_mode(False), torch.no_grad(), unchanged(self.model):
            tensors, flow = self._observed()
            args, kwargs = _call(self.model, self.captured, tensors)
            expected = found.reference(*args, **kwargs)
        self.expected = expected.unbind(1) if self.nhwc and isinstance(expected, Tensor) else expected
        self.args, self.kwargs = _call(self.model, self.captured, tensors)
        self.tensors = tensors
        if self.nhwc:
            self.args = (tensors[self.input].permute(0, 3, 1, 2),)
        elif self.given:
            self.channels = tensors[self.input].shape[1]
        self.graph = self._lowered(flow)

    def _observed(self) -> tuple[dict[int, Tensor], Flow]:
        """Return the inputs by the numbers of their nodes, and what was seen in a run with them."""
        sizes = SIZES if self.requirement is None else ((self.requirement.unit,) * 2,)
        candidates = [self.given.tensors] if self.given else [{self.input: self._random(*size)} for size in sizes]
        errors: list[tuple[dict[int, Tensor], Exception]] = []
        for tensors in candidates:
            try:
                copies = {node: tensor.clone() for node, tensor in tensors.items()}
                return tensors, observe(self.model, self.captured, copies, self.input)
            except Tangled as error:
                raise ValueError(f"freeze: model has no frozen form: {error}") from error
            except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
                errors.append((tensors, error))
        tensors, first = errors[0]
        found = f"it raised {type(first).__name__}: {first}"
        if self.given and not self.given.alone:
            raise ValueError(f"freeze: model must take the example; {found}") from first
        raise ValueError(
            f"freeze: model must take images (N, {self.channels}, H, W); for images of "
            f"{tuple(tensors[self.input].shape)} {found}"
        ) from first

    def _random(self, height: int, width: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(BATCH, self.channels, height, width, generator=generator)
        parameter = next(self.model.parameters(), torch.empty(0))
        images = images.to(parameter.device, parameter.dtype)
        return images.permute(0, 2, 3, 1).contiguous() if self.nhwc else images

    def _lowered(self, flow: Flow) -> Graph:
        image, others = self.input, self.given.others if self.given else []
        if self.nhwc:
            image = next(i for i, node in flow.nodes.items() if self.input in node.inputs)
        result = _without_stack(flow) if self.nhwc else flow.result
        if isinstance(result, Ref) and hasattr(getattr(self.model, "backbone", None), "hourglass_modules"):
            result = [result]
        graph = assemble(self.model, self.captured, flow, image, others, self.channels, result, self.requirement)
        graph.arguments = self.given.arguments if self.given and not self.given.alone else None
        return graph


def _call(
    model: nn.Module, captured: CapturedGraph, tensors: dict[int, Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments for the network with copies of these tensors in their places."""
    given = {name: filled(part, lambda node: tensors[node].clone()) for name, part in captured.inputs.items()}
    return as_call(forward_of(model), given)


def _without_stack(flow: Flow) -> Any:
    """Return the list of heatmaps that princeton-vl's network stacks at its end; any other result as it is."""
    if isinstance(flow.result, Ref):
        call = flow.nodes[flow.result.value].call
        if call.target is torch.stack:
            return call.args[0]
    return flow.result


def _image_input(captured: CapturedGraph, name: str) -> int:
    """Return the node that is the image.

    Raises:
        TypeError: there is none, or there are several.
    """
    found = [value for structure in captured.inputs.values() for value in refs(structure)]
    if len(found) != 1:
        more = "; pass example=, its arguments as a tuple or as a dict by name" if found else ""
        raise TypeError(f"freeze: model must take images (N, C, H, W) alone, {name} takes {len(found)} tensors{more}")
    return found[0]


def _is_nhwc(captured: CapturedGraph, image: int) -> bool:
    readers = [node.call for node in captured.nodes if image in node.inputs]
    orders = (0, 3, 1, 2), ((0, 3, 1, 2),)
    return len(readers) == 1 and readers[0].target == "permute" and readers[0].args[1:] in orders


def _channels(model: nn.Module, captured: CapturedGraph) -> int:
    """Return the channels of the image: those of the first convolution's input."""
    conv = next((node.op for node in captured.nodes if isinstance(node.op, ops.Conv)), None)
    weight = None if conv is None else tensor_at(model, captured.constants, conv.weight)
    return 3 if conv is None or weight is None else weight.shape[1] * conv.groups
