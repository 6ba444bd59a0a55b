"""The values of a program's registers, in the forward pass and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hgfast.nn._program import NONE, Conv, Merge, Norm, Program, Relu, Stage, Sum, reads, reads_back


class Registers:
    """Values at hand, and the others computed from them when asked for.

    Values are tensors, or stand for them: `kernels` (`_kernels`, or a `_recorder.Recorder`) and the norms know what to
    do with them.
    """

    def __init__(self, program: Program, values: dict[int, Any], norms: Sequence[Any], kernels: Any) -> None:
        """values: those that are kept; norms: Normalisers."""
        self.program, self.values, self.norms, self.kernels = program, values, norms, kernels

    def get(self, register: int) -> Any:
        """Return the value of a register."""
        if register in self.values:
            return self.values[register]
        assert register >= self.program.inputs  # what is asked for is kept
        stage = self.program.stages[register - self.program.inputs]
        if isinstance(stage, Merge):
            return self.kernels.merge(self.get(stage.skip), self.get(stage.low))
        if isinstance(stage, Relu):
            return self.kernels.relu(self.get(stage.source))
        if isinstance(stage, Sum):
            return self.kernels.add(self.get(stage.a), self.get(stage.b))
        assert isinstance(stage, Norm)  # what convolutions make is kept
        return self.norms[stage.norm].apply(self.get(stage.source), self.optional(stage.residual), stage.relu)

    def optional(self, register: int) -> Any:
        """Return the value of a register that may be NONE."""
        return None if register == NONE else self.get(register)


class Forward:
    """A forward pass.

    Attributes:
        result: the last register's value.
        kept: values of the registers that `Program.lifetimes` keeps, and of small ones.
        norms: the Normaliser of each norm.
        low_sizes: see Gradients.
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Any],
        parameters: Sequence[Any],
        states: Sequence[Any],
        kernels: Any,
        small: int = 0,
    ) -> None:
        """Run it. states: a NormState for each norm; small: what gradients read is kept up to so many bytes."""
        self.states, self.parameters, self.kernels = states, parameters, kernels
        self.kept: dict[int, Any] = {}
        self.low_sizes: dict[int, Any] = {}
        made: dict[int, Any] = {}
        (kept, last_use), count = program.lifetimes, program.inputs
        values: dict[int, Any] = dict(enumerate(inputs))
        for i, stage in enumerate(program.stages):
            values[count + i] = self._value(stage, values, made)
            self.kept |= {register: values[register] for register in reads(stage) if register in kept}
            if small:
                wanted = {register: values[register] for register in reads_back(stage)}
                self.kept |= {register: value for register, value in wanted.items() if value.nbytes <= small}
            if isinstance(stage, Merge):
                self.low_sizes[i] = values[stage.low].shape[2:]
            values = {register: value for register, value in values.items() if last_use.get(register, i + 1) > i}
        self.result = values[program.result]
        self.norms = [made[i] for i in range(len(made))]

    def _value(self, stage: Stage, values: dict[int, Any], norms: dict[int, Any]) -> Any:
        """Compute the value of a stage; puts the statistics of a Norm into norms."""
        if isinstance(stage, Merge):
            return self.kernels.merge(values[stage.skip], values[stage.low])
        if isinstance(stage, Relu):
            return self.kernels.relu(values[stage.source])
        if isinstance(stage, Sum):
            return self.kernels.add(values[stage.a], values[stage.b])
        if isinstance(stage, Conv):
            weight, bias = self.parameters[2 * stage.conv : 2 * stage.conv + 2]
            return self.kernels.conv(values[stage.source], weight, bias, stage.stride, values.get(stage.addend))
        state, x = self.states[stage.norm], values[stage.source]
        residual = values.get(stage.residual)
        norms[stage.norm] = norm = state.normaliser(x, residual)
        return norm.apply(x, residual, stage.relu)
