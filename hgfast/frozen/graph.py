"""A network as a list of fused calls, before anything is known of sizes, devices or kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hgfast.frozen.arguments import Arguments
from hgfast.frozen.codes import Quantisation
from hgfast.frozen.mapped import MappedFile
from hgfast.frozen.torch_call import TorchCall

Value = int
"""Number of an activation; 0 is the image."""

IMAGE: Value = 0

Others = tuple[tuple[tuple[int, ...], torch.dtype], ...]
"""Shape and dtype of each input beside the image."""


@dataclass
class Second:
    """The second output of a call, relu(scale * output + shift): the BatchNorm-ReLU that opens the next block."""

    value: Value
    scale: Tensor
    shift: Tensor


@dataclass
class Extra:
    """A 1x1 convolution of another input that adds to the result of a call (its bias is in the call's bias)."""

    value: Value
    weight: Tensor
    stride: int = 1


@dataclass
class ConvCall:
    """output = [upsample_to + nearest2x] relu(conv(x) + extra + bias + residual).

    Weights are float32: weight (K, C, r, r), bias (K,), extra's (K, C').
    """

    name: str
    output: Value
    x: Value
    weight: Tensor
    bias: Tensor
    stride: int = 1
    relu: bool = False
    residual: Value | None = None
    upsample_to: Value | None = None
    extra: Extra | None = None
    second: Second | None = None

    def inputs(self) -> Iterator[Value]:
        """Yield all values that the call reads."""
        yield self.x
        if self.residual is not None:
            yield self.residual
        if self.upsample_to is not None:
            yield self.upsample_to
        if self.extra is not None:
            yield self.extra.value


@dataclass
class PoolCall:
    """output = max_pool2d(x, 2)."""

    name: str
    output: Value
    x: Value
    second: Second | None = None

    def inputs(self) -> Iterator[Value]:
        """Yield all values that the call reads."""
        yield self.x


@dataclass
class PointwiseCall:
    """output = [relu](scale * x + shift + residual), scale and shift float32 (C,): where no convolution does it."""

    name: str
    output: Value
    x: Value
    scale: Tensor
    shift: Tensor
    residual: Value | None = None
    relu: bool = False
    second: None = field(default=None, init=False)

    def inputs(self) -> Iterator[Value]:
        """Yield all values that the call reads."""
        yield self.x
        if self.residual is not None:
            yield self.residual


@dataclass
class BottleneckCall:
    """A whole pre-activation block: output = [upsample_to + nearest2x] x + conv3(conv2(conv1(relu(scale x + shift)))).

    conv1 (1x1) and conv2 (3x3) end in ReLU. Graphs are built and saved with the three convolutions; a plan puts this
    call in their place where its library has a kernel for it (hgfast.frozen.bottleneck).
    """

    name: str
    output: Value
    x: Value
    scale: Tensor
    shift: Tensor
    convs: tuple[ConvCall, ConvCall, ConvCall]
    upsample_to: Value | None = None
    second: Second | None = None

    def inputs(self) -> Iterator[Value]:
        """Yield all values that the call reads."""
        yield self.x
        if self.upsample_to is not None:
            yield self.upsample_to


PlainCall = PoolCall | PointwiseCall
"""What one kernel runs, and torch in its place."""

NativeCall = ConvCall | BottleneckCall | PlainCall
"""What kernels run, and torch in their place."""

Call = NativeCall | TorchCall


@dataclass
class Graph:
    """Calls in order, the values that are the network's outputs, and the image sizes that it takes.

    Attributes:
        others: values of the inputs beside the image, in their order.
        arguments: what the network takes; None for images alone.
        nodes: the node of the captured graph that a value is, of those that are one; for checks.
        unit, slack: height and width must be a multiple of `unit`, or up to `slack` less.
        result: what the network gives, containers with Ref of places in `outputs`; None for the list of them.
        any_size: nothing is known of sizes but what a plan finds for one; unit is 1.
        quantisation: which parts are computed in int8, and how; None where nothing can be.
        exact: outputs of merges that are no others than those of sizes twice as large.
        file: what the tensors are mapped from; None where they are in memory.
    """

    unit: int
    slack: int
    in_channels: int
    calls: list[Call] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    values: int = 1
    result: Any = None
    any_size: bool = False
    exact: set[Value] = field(default_factory=set)
    others: list[Value] = field(default_factory=list)
    arguments: Arguments | None = None
    nodes: dict[Value, int] = field(default_factory=dict)
    quantisation: Quantisation | None = None
    file: MappedFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: the tensors themselves, so that a copy needs no file."""
        self.check_file()
        return self.__dict__ | {"file": None}

    def check_file(self) -> None:
        """Before tensors are read; raises RuntimeError as :meth:`MappedFile.check`."""
        if self.file is not None:
            self.file.check()

    def new_value(self) -> Value:
        """Return the number of a new activation."""
        self.values += 1
        return self.values - 1

    def producer(self, value: Value) -> Call:
        """Return the call whose first output is `value`."""
        return next(call for call in self.calls if call.output == value)
