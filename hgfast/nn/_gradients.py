"""The way back through a program, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hgfast.nn._program import NONE, Conv, Norm, Program, Relu, Stage, Sum
from hgfast.nn._registers import Registers


class Gradients:
    """Gradients of a program's inputs and parameters.

    Attributes:
        pending: gradient of each register as far as it is known.
        centred: registers whose gradient comes from a BatchNorm by its batch's statistics alone. It sums to zero over
            each channel, so the gradient of a bias before it is zero (torch's is what rounding leaves of that sum).
        parameters: of weights and biases, as the program numbers them; None where none is wanted.
        idle: numbers of the biases whose gradient is zero (see centred): the zeros of `kernels.zeros_like`.
        affine: of the norms' weights and biases, likewise.
    """

    def __init__(self, registers: Registers, weights: Sequence[Any], needs: Sequence[bool], low_sizes: Any) -> None:
        """Hold what the way back reads.

        Args:
            registers: of the forward pass.
            weights: weight and bias of each convolution, as the program numbers them.
            needs: whether a gradient is wanted, for each input, then for each of `weights`.
            low_sizes: height and width of what each Merge brings to its size, by the number of the stage.
        """
        self.registers, self.weights, self.needs, self.low_sizes = registers, weights, needs, low_sizes
        self.program: Program = registers.program
        self.kernels = registers.kernels
        self.pending: dict[int, Any] = {}
        self.centred: set[int] = set()
        self.parameters: list[Any] = [None] * len(weights)
        self.idle: list[int] = []
        self.affine: list[Any] = [None] * (2 * len(registers.norms))
        self.register = self.program.result

    def of(self, grad: Any) -> list[Any]:
        """Compute gradients of inputs, parameters and norms, given the result's."""
        self.pending[self.program.result] = grad
        for stage in reversed(self.program.stages):
            self._through(stage)
        return [*(self.pending.get(i) for i in range(self.program.inputs)), *self.parameters, *self.affine]

    def _through(self, stage: Stage) -> None:
        centred = self.register in self.centred
        grad = self.pending.pop(self.register)
        self.register -= 1
        if isinstance(stage, Conv):
            self._conv(stage, grad, centred)
        elif isinstance(stage, Norm):
            self._norm(stage, grad)
        elif isinstance(stage, Relu):
            self._give(stage.source, self.kernels.relu_backward(grad, self.registers.get(stage.source)))
        elif isinstance(stage, Sum):
            self._give(stage.a, grad)
            self._give(stage.b, grad)
        else:
            self._give(stage.skip, grad)
            if self._wanted(stage.low):
                low_size = self.low_sizes[self.register + 1 - self.program.inputs]
                self._give(stage.low, self.kernels.merge_backward(grad, *low_size))

    def _wanted(self, register: int) -> bool:
        return register >= self.program.inputs or self.needs[register]

    def _give(self, register: int, grad: Any) -> None:
        if self._wanted(register):
            pending = self.pending.get(register)
            self.pending[register] = grad if pending is None else self.kernels.add(pending, grad)
            self.centred.discard(register)

    def _addend(self, register: int) -> Any:
        """Return what other readers have given to a register, for a kernel to add its own gradient to."""
        self.centred.discard(register)
        return self.pending.pop(register, None)

    def _conv(self, stage: Conv, grad: Any, centred: bool) -> None:
        if stage.addend != NONE:
            self._give(stage.addend, grad)
        first = 2 * stage.conv
        source, (weight, bias) = self.registers.get(stage.source), self.weights[first : first + 2]
        addend = self._addend(stage.source)
        inputs = self.program.inputs
        need_weight, need_bias = self.needs[inputs + first : inputs + first + 2]
        needs = (self._wanted(stage.source), need_weight, need_bias and not centred)
        x_grad, *grads = self.kernels.conv_backward(grad, source, weight, stage.stride, needs, addend)
        if need_bias and centred:
            grads[1] = self.kernels.zeros_like(bias)
            self.idle.append(first + 1)
        self.parameters[first : first + 2] = grads
        if x_grad is not None:
            self.pending[stage.source] = x_grad

    def _norm(self, stage: Norm, grad: Any) -> None:
        norm = self.registers.norms[stage.norm]
        residual = self.registers.optional(stage.residual) if stage.relu else None
        source, addend = self.registers.get(stage.source), self._addend(stage.source)
        x_grad, *affine, residual_grad = norm.backward(
            grad, source, residual, addend, stage.relu, stage.residual != NONE
        )
        self.affine[2 * stage.norm : 2 * stage.norm + 2] = affine
        if self._wanted(stage.source):
            self.pending[stage.source] = x_grad
            if addend is None and norm.centres:
                self.centred.add(stage.source)
        if stage.residual != NONE:  # which may be the source itself
            self._give(stage.residual, residual_grad)
