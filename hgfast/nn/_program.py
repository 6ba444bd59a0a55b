"""Residual blocks as short programs: stages that read and write numbered registers.

Registers 0 to n-1 are the inputs, stage i writes register n+i, the last one is the result. The same program runs as one
autograd operation (`_tape`) or, under torch.compile and functorch, as registered operators in turn (`compose`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from hgfast import ops
from hgfast.nn._norm import NormState

NONE = -1


class Conv(NamedTuple):
    """registers[source] through convolution number `conv` (its weight and bias), plus registers[addend]."""

    source: int
    conv: int
    stride: int = 1
    addend: int = NONE


class Norm(NamedTuple):
    """relu(norms[norm](registers[source]) + registers[residual])."""

    source: int
    norm: int
    residual: int = NONE
    relu: bool = True


class Merge(NamedTuple):
    """registers[skip] plus registers[low] brought to its size (nearest neighbour).

    factor: what the sizes must differ by; 0 for any.
    """

    skip: int
    low: int
    factor: int = 0


class Relu(NamedTuple):
    """relu(registers[source])."""

    source: int


class Sum(NamedTuple):
    """registers[a] + registers[b], which are of one shape."""

    a: int
    b: int


Stage = Conv | Norm | Merge | Relu | Sum


def reads(stage: Stage) -> tuple[int, ...]:
    """Return the registers that a stage reads."""
    if isinstance(stage, Conv):
        registers: tuple[int, ...] = (stage.source, stage.addend)
    elif isinstance(stage, Norm):
        registers = (stage.source, stage.residual)
    elif isinstance(stage, Relu):
        registers = (stage.source,)
    else:
        registers = tuple(stage[:2])
    return tuple(register for register in registers if register != NONE)


def reads_back(stage: Stage) -> tuple[int, ...]:
    """Return the registers whose values a stage's gradient reads."""
    if isinstance(stage, (Conv, Relu)):
        return (stage.source,)
    if isinstance(stage, Norm):
        return reads(stage) if stage.relu else (stage.source,)
    return ()


class Lifetimes(NamedTuple):
    """The registers that are kept for the gradient (all it reads but BatchNorm's), and the stage of each last use."""

    kept: frozenset[int]
    last_use: dict[int, int]


@dataclass(frozen=True, eq=False)
class Program:
    """Stages over `inputs` input registers."""

    inputs: int
    stages: tuple[Stage, ...]

    @property
    def result(self) -> int:
        """Register of the result."""
        return self.inputs + len(self.stages) - 1

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for programs that do the same; stages of two kinds may be equal tuples."""
        return (self.inputs, *((type(stage).__name__, *stage) for stage in self.stages))

    @cached_property
    def lifetimes(self) -> Lifetimes:
        """Kept: inputs and outputs of convolutions, as far as a gradient reads them. last_use: register -> stage."""
        pending: list[int] = []
        last_use: dict[int, int] = {}
        for i, stage in enumerate(self.stages):
            last_use |= dict.fromkeys(reads(stage), i)
            pending += reads_back(stage)
        return Lifetimes(self._sources(pending), last_use)

    @cached_property
    def sources_of_result(self) -> frozenset[int]:
        """The registers from which the result is computed again: inputs and what convolutions made."""
        return self._sources([self.result])

    def _sources(self, registers: Sequence[int]) -> frozenset[int]:
        """Return inputs and outputs of convolutions from which registers are computed, these among them."""
        found, pending = set(), list(registers)
        while pending:
            register = pending.pop()
            stage = self.stages[register - self.inputs] if register >= self.inputs else None
            if stage is None or isinstance(stage, Conv):
                found.add(register)
            else:
                pending += reads(stage)
        return frozenset(found)


NORM_ALONE = {
    (inputs, relu): Program(inputs, (Norm(0, 0, 1 if inputs == 2 else NONE, relu),))
    for inputs in (1, 2)
    for relu in (False, True)
}
"""BatchNorm of the first input, plus the second one if there are two, and ReLU: by the number of inputs, and relu."""
MERGE = Program(2, (Merge(0, 1),))


def compose(
    program: Program, norms: Sequence[NormState], inputs: Sequence[Tensor], parameters: Sequence[Tensor | None]
) -> Tensor:
    """Run a program by differentiable operators, one for each stage."""
    registers = list(inputs)

    def register(index: int) -> Tensor | None:
        return None if index == NONE else registers[index]

    for stage in program.stages:
        if isinstance(stage, Conv):
            weight, bias = parameters[2 * stage.conv : 2 * stage.conv + 2]
            assert weight is not None
            value = ops.conv2d(registers[stage.source], weight, bias, stage.stride)
            if stage.addend != NONE:
                value = value + registers[stage.addend]
        elif isinstance(stage, Norm):
            value = norms[stage.norm].differentiable(registers[stage.source], register(stage.residual), stage.relu)
        elif isinstance(stage, Relu):
            value = torch.relu(registers[stage.source])
        elif isinstance(stage, Sum):
            value = registers[stage.a] + registers[stage.b]
        else:
            value = ops.upsample_add(registers[stage.skip], registers[stage.low])
        registers.append(value)
    return registers[-1]
