"""A call by itself, whose kernels are tried and timed as those of a plan: what operators ask at their first call.

All its values are the caller's: the memory to try kernels in is allocated, and given back when they are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hgfast import _switches
from hgfast._kernel_table import table_of
from hgfast.frozen.choices import Choices, Needs
from hgfast.frozen.graph import BottleneckCall, ConvCall, Graph, NativeCall, Value
from hgfast.frozen.make import best, is_capturing
from hgfast.frozen.shapes import Shape
from hgfast.frozen.steps import Memory, StepMaker, block_sizes, conv_sizes
from hgfast.frozen.tune import tunes
from hgfast.frozen.weights import Weights
from hgfast.ops._candidates import has_candidates

if TYPE_CHECKING:
    from hgfast._library import Library

Calls = ConvCall | BottleneckCall


class OneCall:
    """What hgfast.frozen.verify and hgfast.frozen.tune ask of a plan, for one call."""

    def __init__(self, call: Calls, shapes: dict[Value, Shape], batch: int, weights: Weights, choices: Choices) -> None:
        """Choose a kernel; shapes: of all values of the call.

        Raises:
            NoKernel: there is none.
        """
        self.call, self.batch, self.weights, self.choices = call, batch, weights, choices
        self.dtype, self.device = weights.dtype, weights.device
        nothing = torch.empty(0, dtype=torch.uint8, device=self.device)
        memory = Memory(batch, self.dtype, shapes, set(shapes), {}, nothing, nothing)
        self.maker = StepMaker(choices.lib, weights, memory, 1)
        self.needs: dict[Value, Needs] = {}
        needs: Needs | None
        if isinstance(call, ConvCall):
            needs = choices.conv(call, conv_sizes(call, shapes, batch, self.dtype, weights.exact))
        else:
            choices.blocks = True  # not held against three convolutions, which the operator does not have
            needs = choices.block(call, block_sizes(call, shapes, batch, self.dtype))
        if needs is not None:
            self.needs[call.output] = needs

    def native_calls(self) -> list[NativeCall]:
        """Return the call, if there is a kernel for it."""
        return [self.call] if self.needs else []


def are_chosen(lib: Library, device: torch.device) -> bool:
    """Whether kernels of calls by themselves are tried or timed: on CUDA, unless the environment says no."""
    return has_candidates(lib) and (_switches.VERIFY not in _switches.disabled or tunes(device))


@dataclass(frozen=True)
class Chosen:
    """needs: of the kernel, None where all are wrong; name: of the call in the card's table; is_known: whether kernels
    were tried, which in a capture none is."""

    needs: Needs | None
    name: str
    is_known: bool


@torch.inference_mode(False)
@torch.no_grad()
def choose(
    lib: Library,
    call: Calls,
    shapes: dict[Value, Shape],
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    exact: bool,
) -> Chosen:
    """Return the fastest kernel of a call that is not wrong. Whether torch is faster is not asked (hgfast.ops._ways).

    Args:
        lib: the library, for which `are_chosen`.
        call: with weights of the right sizes; their numbers, and where they are, do not count.
        shapes: (C, H, W) of its values.
        batch: images.
        dtype: of the values.
        device: theirs, the current one.
        exact: as of ConvShape.

    Raises:
        NoKernel: there is none.
    """
    weights = Weights(Graph(1, 0, 1), dtype, device, exact)
    choices = Choices(lib, 1, table_of(lib, device), tunes(device), by_torch=False)
    capturing = is_capturing(device)

    def make(choices: Choices) -> OneCall:
        return OneCall(call, shapes, batch, weights, choices)

    found = make(choices) if capturing else best(make, choices)
    return Chosen(found.needs.get(call.output), choices.names[call.output], not capturing)
