"""The values of a program's registers, in the forward pass and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from torch import Tensor

from hgfast.nn._norm import Normaliser
from hgfast.nn._program import NONE, Conv, Merge, Norm, Program, Stage
from hgfast.ops.upsample_add import upsample_add


class Plan(NamedTuple):
    """What a program needs: the registers that its gradient reads and that are no BatchNorm's, and last uses."""

    kept: frozenset[int]
    last_use: dict[int, int]


def reads(stage: Stage) -> set[int]:
    """Registers that a stage reads."""
    if isinstance(stage, Merge):
        return {stage.skip, stage.low}
    return {stage.source, stage.addend if isinstance(stage, Conv) else stage.residual} - {NONE}


@cache
def plan_of(program: Program) -> Plan:
    """Kept: inputs and outputs of convolutions, as far as a gradient reads them. last_use: register -> stage."""
    wanted: set[int] = set()
    last_use: dict[int, int] = {}
    for i, stage in enumerate(program.stages):
        last_use |= dict.fromkeys(reads(stage), i)
        if isinstance(stage, Conv):
            wanted.add(stage.source)
        elif isinstance(stage, Norm):
            wanted |= reads(stage) if stage.relu else {stage.source}
    made = {program.inputs + i for i, stage in enumerate(program.stages) if isinstance(stage, Conv)}
    return Plan(frozenset(wanted & (made | set(range(program.inputs)))), last_use)


@cache
def sources_of_result(program: Program) -> frozenset[int]:
    """The registers from which the result is computed again: inputs and what convolutions made."""
    found, pending = set(), {program.result}
    while pending:
        register = pending.pop()
        stage = program.stages[register - program.inputs] if register >= program.inputs else None
        if stage is None or isinstance(stage, Conv):
            found.add(register)
        else:
            pending |= reads(stage)
    return frozenset(found)


class Registers:
    """Values at hand, and the others computed from them when asked for."""

    def __init__(self, program: Program, values: dict[int, Tensor], norms: Sequence[Normaliser]) -> None:
        """values: what the plan keeps."""
        self.program, self.values, self.norms = program, values, norms

    def get(self, register: int) -> Tensor:
        """Value of a register."""
        if register in self.values:
            return self.values[register]
        assert register >= self.program.inputs  # the plan keeps what is asked for
        stage = self.program.stages[register - self.program.inputs]
        if isinstance(stage, Merge):
            return upsample_add(self.get(stage.skip), self.get(stage.low))
        assert isinstance(stage, Norm)  # the plan keeps what convolutions make
        return self.norms[stage.norm].apply(self.get(stage.source), self.optional(stage.residual), stage.relu)

    def optional(self, register: int) -> Tensor | None:
        """Value of a register that may be NONE."""
        return None if register == NONE else self.get(register)
