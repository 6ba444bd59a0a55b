"""What must hold of a graph before anything is packed for it, as kernels trust its sizes and never ask.

Sizes are proved for all images that the graph takes at once: height and width are m * unit - s with s <= slack, and
each value has ceil(size / scale) rows and columns, for a scale that divides the unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from hgfast import _checks as checks
from hgfast.frozen.arguments import check_arguments
from hgfast.frozen.check_codes import check_quantisation
from hgfast.frozen.graph import IMAGE, Call, ConvCall, Extra, Graph, PointwiseCall, PoolCall, Second, Value
from hgfast.frozen.torch_call import TorchCall
from hgfast.graph.captured import refs

LARGEST_IN_CHANNELS = 1 << 10
LARGEST_KERNEL = 127
LARGEST_UNIT = 1 << 15  # a side of more pixels makes more elements than the kernels count
LARGEST_CHANNELS = 1 << 16
LARGEST_DENSITY = 1 << 10  # numbers of a value for each pixel of the image; more would be a trap for the memory
LONGEST_NAME = 200


@dataclass
class _Known:
    """What is known of the values that have been made, and the memory of the weights so far."""

    graph: Graph
    channels: dict[Value, int | None] = field(default_factory=dict)  # None: what torch makes
    scales: dict[Value, int | None] = field(default_factory=dict)  # None: of what torch makes, where nobody knows
    storages: set[int] = field(default_factory=set)

    def add(self, where: str, value: Any, channels: int | None, scale: int | None) -> None:
        number = checks.integer("", where, value, 1, self.graph.values - 1)
        if number in self.channels:
            raise ValueError(f"{where} is {number}, which is made already")
        if not self.graph.any_size and scale is not None and self.graph.unit % scale:
            raise ValueError(f"{where} is {scale} times smaller than the image, whose unit is {self.graph.unit}")
        if scale is not None and channels is not None and channels > LARGEST_DENSITY * scale**2:
            raise ValueError(f"{where} has {channels} channels at 1/{scale} of the image's size, which is too many")
        self.channels[number], self.scales[number] = channels, scale

    def use(self, where: str, value: Any, channels: int | None = None, scale: int | None = None) -> None:
        number = checks.integer("", where, value, 0, self.graph.values - 1)
        if number not in self.channels:
            raise ValueError(f"{where} is {number}, which is not made before it is used")
        if channels is not None and self.channels[number] not in (None, channels):
            raise ValueError(f"{where} must have {channels} channels, value {number} has {self.channels[number]}")
        if not self.graph.any_size and scale is not None and self.scales[number] not in (None, scale):
            raise ValueError(
                f"{where} must be 1/{scale} of the image's size, value {number} is 1/{self.scales[number]} of it"
            )

    def weights(self, where: str, tensor: Any, shape: tuple[int | None, ...]) -> None:
        """Require a dense float32 tensor of this shape (None: from 1 to LARGEST_CHANNELS) in memory of its own."""
        checks.tensor("", where, tensor, ndim=len(shape), dtypes=(torch.float32,))
        if tensor.device.type == "meta":
            raise ValueError(f"{where} must hold numbers, got a tensor on the meta device")
        bounds = [(1, LARGEST_CHANNELS) if size is None else (size, size) for size in shape]
        if not all(low <= size <= high for size, (low, high) in zip(tensor.shape, bounds, strict=True)):
            expected = ", ".join(f"1 to {LARGEST_CHANNELS}" if size is None else str(size) for size in shape)
            raise ValueError(f"{where} must have shape ({expected}), got {tuple(tensor.shape)}")
        if torch.empty_like(tensor, device="meta").stride() != tensor.stride():
            raise ValueError(f"{where} must be dense, got strides {tensor.stride()} for shape {tuple(tensor.shape)}")
        storage = tensor.untyped_storage().data_ptr()
        if storage in self.storages:
            raise ValueError(f"{where} shares its memory with another tensor of the graph")
        self.storages.add(storage)


def check_graph(graph: Graph) -> None:
    """Require everything that kernels, plans and tables take for granted.

    Raises:
        TypeError, ValueError: something else; the message says where and what.
    """
    checks.instance("", "graph", graph, Graph)
    checks.integer("", "unit", graph.unit, 1, LARGEST_UNIT)
    checks.integer("", "slack", graph.slack, 0, graph.unit - 1)
    checks.flag("", "any_size", graph.any_size)
    checks.integer("", "values", graph.values, 2)
    checks.integer("", "in_channels", graph.in_channels, 1, LARGEST_IN_CHANNELS)
    for name in ("calls", "outputs", "others"):
        checks.instance("", name, getattr(graph, name), list)
    known = _Known(graph, {IMAGE: graph.in_channels}, {IMAGE: 1})
    if graph.arguments is not None:
        check_arguments(graph.arguments, 1 + len(graph.others))
    for index, value in enumerate(graph.others):
        known.add(f"others[{index}]", value, None, None)
    for index, call in enumerate(graph.calls):
        _check_call(known, f"calls[{index}]", call)
    _check_outputs(known)
    check_quantisation(graph, known.channels.keys())


def _check_outputs(known: _Known) -> None:
    outputs = known.graph.outputs
    if not outputs:
        raise ValueError("outputs must have at least one entry")
    for index, value in enumerate(outputs):
        known.use(f"outputs[{index}]", value)
        if value in (IMAGE, *known.graph.others, *outputs[:index]):
            raise ValueError(f"outputs[{index}] must be a value of its own, made by a call; got {value}")
    for place in refs(known.graph.result):
        checks.integer("", "result", place, 0, len(outputs) - 1)


def _check_torch(known: _Known, where: str, call: TorchCall) -> None:
    for value in call.inputs():
        known.use(f"{where}.call", value)
    scale = None if call.like is None else known.scales[call.like]
    known.add(f"{where}.output", call.output, None, None if scale is None else scale * call.stride)


def _check_call(known: _Known, where: str, call: Call) -> None:
    checks.instance("", where, call, ConvCall, PoolCall, PointwiseCall, TorchCall)
    if not isinstance(call.name, str) or len(call.name) > LONGEST_NAME:
        raise ValueError(f"{where}.name must be a str of at most {LONGEST_NAME} characters")
    if isinstance(call, TorchCall):
        _check_torch(known, where, call)
        return
    known.use(f"{where}.x", call.x)
    scale, channels = known.scales[call.x], known.channels[call.x]
    if isinstance(call, PointwiseCall):
        _check_pointwise(known, where, call)
    elif isinstance(call, ConvCall):
        channels, scale = _check_conv(known, where, call)
    else:
        if not known.graph.any_size and scale is not None and known.graph.slack >= scale:
            raise ValueError(f"{where} pools what may have odd sizes, as slack is {known.graph.slack}")
        scale = None if scale is None else 2 * scale
    known.add(f"{where}.output", call.output, channels, scale)
    if call.second is not None:
        checks.instance("", f"{where}.second", call.second, Second)
        for name in ("scale", "shift"):
            known.weights(f"{where}.second.{name}", getattr(call.second, name), (channels,))
        known.add(f"{where}.second.value", call.second.value, channels, scale)


def _check_pointwise(known: _Known, where: str, call: PointwiseCall) -> None:
    channels = known.channels[call.x]
    for name in ("scale", "shift"):
        known.weights(f"{where}.{name}", getattr(call, name), (channels,))
    checks.flag("", f"{where}.relu", call.relu)
    if call.residual is not None:
        known.use(f"{where}.residual", call.residual, channels, known.scales[call.x])


def _check_conv(known: _Known, where: str, call: ConvCall) -> tuple[int, int | None]:
    """Return the channels and scale of the output."""
    known.weights(f"{where}.weight", call.weight, (None, known.channels[call.x], None, None))
    k, _, kernel, width = call.weight.shape
    if kernel != width or kernel % 2 == 0 or kernel > LARGEST_KERNEL:
        raise ValueError(f"{where}.weight must have a square kernel of odd size, got {kernel}x{width}")
    known.weights(f"{where}.bias", call.bias, (k,))
    checks.flag("", f"{where}.relu", call.relu)
    scale = _scaled(known, f"{where}.stride", call.x, call.stride)
    if call.residual is not None:
        known.use(f"{where}.residual", call.residual, k, scale)
    if call.extra is not None:
        _check_extra(known, f"{where}.extra", call.extra, k, scale)
    if call.upsample_to is None:
        return k, scale
    if not known.graph.any_size and scale is not None and scale % 2:
        raise ValueError(f"{where}.upsample_to: the convolution's result has the image's size, none is twice as large")
    known.use(f"{where}.upsample_to", call.upsample_to, k, None if scale is None else scale // 2)
    return k, known.scales[call.upsample_to]


def _scaled(known: _Known, where: str, x: Value, stride: Any) -> int | None:
    """Return the scale of what a convolution makes of x."""
    largest, scale = LARGEST_UNIT if known.graph.any_size else known.graph.unit, known.scales[x]
    stride = checks.integer("", where, stride, 1, largest)
    return None if scale is None else scale * stride


def _check_extra(known: _Known, where: str, extra: Extra, k: int, scale: int | None) -> None:
    checks.instance("", where, extra, Extra)
    known.use(f"{where}.value", extra.value)
    found = _scaled(known, f"{where}.stride", extra.value, extra.stride)
    if not known.graph.any_size and scale is not None and found not in (None, scale):
        raise ValueError(f"{where} must give 1/{scale} of the image's size, got 1/{found}")
    known.weights(f"{where}.weight", extra.weight, (k, known.channels[extra.value]))
