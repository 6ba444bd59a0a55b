"""The values of a program's registers, in the forward pass and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hgfast.nn._norm import Normaliser
from hgfast.nn._program import NONE, Merge, Norm, Program, Relu, Sum
from hgfast.ops.upsample_add import upsample_add


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
        if isinstance(stage, Relu):
            return torch.relu(self.get(stage.source))
        if isinstance(stage, Sum):
            return self.get(stage.a) + self.get(stage.b)
        assert isinstance(stage, Norm)  # the plan keeps what convolutions make
        return self.norms[stage.norm].apply(self.get(stage.source), self.optional(stage.residual), stage.relu)

    def optional(self, register: int) -> Tensor | None:
        """Value of a register that may be NONE."""
        return None if register == NONE else self.get(register)
