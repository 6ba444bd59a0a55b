"""What a node of a captured graph computes. Parameters and buffers are named by their paths in the module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Pair = tuple[int, int]


@dataclass(frozen=True)
class Input:
    """A tensor that the caller gives."""


@dataclass(frozen=True)
class Stored:
    """A parameter, a buffer or a constant."""


@dataclass(frozen=True)
class Conv:
    """Convolution of (N, C, H, W) by weight (K, C / groups, r, s); padding on each side, or "same"."""

    weight: str
    bias: str | None
    stride: Pair
    padding: Pair | str
    dilation: Pair
    groups: int
    padding_mode: str = "zeros"


@dataclass(frozen=True)
class Deconv:
    """Transposed convolution of (N, C, H, W) by weight (C, K / groups, r, s)."""

    weight: str
    bias: str | None
    stride: Pair
    padding: Pair
    output_padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True)
class Norm:
    """A normalisation; `kind` is "batch" for BatchNorm, whose statistics `mean` and `var` name, else a class's name.

    uses_statistics: whether a BatchNorm normalises by its statistics in evaluation.
    """

    kind: str
    weight: str | None = None
    bias: str | None = None
    mean: str | None = None
    var: str | None = None
    eps: float = 1e-5
    uses_statistics: bool = False


@dataclass(frozen=True)
class Activation:
    """A function of each element by itself, with what its torch function takes beside the tensor."""

    kind: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Add:
    """The sum of two values by torch's rules of broadcasting."""


@dataclass(frozen=True)
class Upsample:
    """Resizing of (N, C, H, W): by a factor, to the height and width of `inputs[1]`, or to a size."""

    mode: str
    factor: tuple[float, float] | None = None
    like: bool = False
    size: Pair | None = None
    align_corners: bool = False


@dataclass(frozen=True)
class Pool:
    """Pooling of (N, C, H, W); kind: "max", "average", or "adaptive average", with the result's size as kernel."""

    kind: str
    kernel: tuple[int | None, int | None]
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False


@dataclass(frozen=True)
class Concat:
    """Values one behind the other in a dimension."""

    dim: int


@dataclass(frozen=True)
class Slice:
    """A part of a value, by an index; or one of the results of a call that gives several."""

    index: Any


@dataclass(frozen=True)
class Identity:
    """The same numbers, in other memory perhaps."""


@dataclass(frozen=True)
class Dropout:
    """The identity in evaluation, random in training."""


@dataclass(frozen=True)
class Requirement:
    """Raises where the height or width of images is not `slack` or less below a multiple of `unit`."""

    unit: int
    slack: int


@dataclass(frozen=True)
class Opaque:
    """Anything else, which torch runs as it stands; `why` names it."""

    why: str


Op = (
    Input
    | Stored
    | Conv
    | Deconv
    | Norm
    | Activation
    | Add
    | Upsample
    | Pool
    | Concat
    | Slice
    | Identity
    | Dropout
    | Requirement
    | Opaque
)
