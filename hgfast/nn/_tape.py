"""A program as one autograd operation that keeps only what cannot be computed again cheaply.

Kept for the backward pass: the inputs, and what convolutions hand to a BatchNorm. The results of BatchNorm and ReLU are
computed again where a gradient needs them. An input that another such operation made is not kept either if that one
(the input's grad_fn) can build it again from a kept convolution alone, and with `recompute` if it can build it at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hgfast import _checks
from hgfast.nn._norm import NormState
from hgfast.nn._program import NONE, Conv, Merge, Norm, Program, Relu, Stage, Sum, compose, reads
from hgfast.nn._registers import Normaliser, Registers
from hgfast.ops import _conv_train as conv_ops
from hgfast.ops._registry import is_recorded
from hgfast.ops.upsample_add import upsample_add, upsample_add_backward

ALONE, CHAINED = "from a kept convolution", "from kept convolutions and its inputs"  # how a node rebuilds its result


def run(
    program: Program,
    inputs: Sequence[Tensor],
    parameters: Sequence[Tensor | None] = (),
    norms: Sequence[Any] = (),
    recompute: bool = False,
) -> Tensor:
    """Run a program.

    Args:
        program: what to do.
        inputs: activations (N, C, H, W).
        parameters: weight and bias (or None) of each convolution, as the program numbers them.
        norms: BatchNorm modules, as the program numbers them.
        recompute: keep no input that another program can build again, whatever chain of programs that takes.

    Raises:
        TypeError: the first input is no dense tensor of floating-point numbers.
        ValueError: it has not 4 dimensions, or the tensors of a stage do not fit each other.
    """
    _checks.tensor("", "x", inputs[0], ndim=4)
    inputs, parameters = _autocast(inputs, parameters)
    states = [NormState(bn) for bn in norms]
    if is_recorded():
        return compose(program, states, inputs, parameters)
    affine = [tensor for state in states for tensor in (state.weight, state.bias)]
    ways = {ALONE, CHAINED} if recompute else {ALONE}
    makers = [x.grad_fn if getattr(x.grad_fn, "rebuilds", None) in ways else None for x in inputs]
    return Tape.apply(Call(program, states, makers), *inputs, *parameters, *affine)


def _autocast(
    inputs: Sequence[Tensor], parameters: Sequence[Tensor | None]
) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
    """Inputs and parameters of convolutions as autocast wants them."""
    device = inputs[0].device.type
    available = bool(parameters) and torch.amp.is_autocast_available(device)
    if not available or not torch.is_autocast_enabled(device) or inputs[0].dtype == torch.float64:
        return inputs, parameters
    dtype = torch.get_autocast_dtype(device)
    return [x.to(dtype) for x in inputs], [None if p is None else p.to(dtype) for p in parameters]


@dataclass
class Call:
    """What a call has beside its tensors. makers: the node that builds each input again, or None."""

    program: Program
    norms: list[NormState]
    makers: list[Any]


class Tape(torch.autograd.Function):
    """The autograd operation."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor | None) -> Tensor:
        """tensors: inputs, parameters, then weight and bias of each norm."""
        program, plan = call.program, call.program.plan
        count = program.inputs
        parameters = tensors[count : len(tensors) - 2 * len(call.norms)]
        norms: dict[int, Normaliser] = {}
        values: dict[int, Any] = dict(enumerate(tensors[:count]))
        kept: dict[int, Tensor] = {}
        low_sizes: dict[int, Any] = {}
        for i, stage in enumerate(program.stages):
            values[count + i] = _forward(stage, values, parameters, call.norms, norms)
            kept |= {register: values[register] for register in reads(stage) if register in plan.kept}
            if isinstance(stage, Merge):
                low_sizes[i] = values[stage.low].shape[2:]
            values = {register: value for register, value in values.items() if plan.last_use.get(register, i + 1) > i}
        _save(ctx, call, kept, parameters, [norms[i] for i in range(len(norms))])
        ctx.low_sizes = low_sizes
        return values[program.result]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients in the order of forward's arguments."""
        if grad is None:
            return (None,) * len(ctx.needs_input_grad)
        gradients = _Gradients(ctx)
        gradients.pending[ctx.call.program.result] = grad
        for stage in reversed(ctx.call.program.stages):
            gradients.through(stage)
        ctx.opened = ctx.built = None
        inputs = [gradients.pending.get(i) for i in range(ctx.call.program.inputs)]
        return None, *inputs, *gradients.parameters, *gradients.affine


def _forward(
    stage: Stage,
    values: dict[int, Any],
    parameters: Sequence[Any],
    states: Sequence[NormState],
    norms: dict[int, Normaliser],
) -> Tensor:
    """Value of a stage; puts the statistics of a Norm into norms."""
    if isinstance(stage, Merge):
        return upsample_add(values[stage.skip], values[stage.low])
    if isinstance(stage, Relu):
        return torch.relu(values[stage.source])
    if isinstance(stage, Sum):
        return values[stage.a] + values[stage.b]
    if isinstance(stage, Conv):
        weight, bias = parameters[2 * stage.conv : 2 * stage.conv + 2]
        return conv_ops.forward(values[stage.source], weight, bias, stage.stride, values.get(stage.addend))
    state, x = states[stage.norm], values[stage.source]
    norms[stage.norm] = norm = state.normaliser(x)
    result = norm.apply(x, values.get(stage.residual), stage.relu)
    state.move(x, norm)  # now that everything is known to fit
    return result


def _save(
    ctx: Any, call: Call, kept: dict[int, Tensor], parameters: Sequence[Any], norms: Sequence[Normaliser]
) -> None:
    """Hand everything to autograd; Call and the scopes of norms hold none."""
    made = {i for i, maker in enumerate(call.makers) if maker is not None}
    ctx.call, ctx.kept = replace(call, norms=[]), [register for register in kept if register not in made]
    ctx.scopes = [norm.scope for norm in norms]
    ctx.parameter_count = len(parameters)
    statistics = (tensor for norm in norms for tensor in norm[:4])
    ctx.save_for_backward(*(kept[register] for register in ctx.kept), *parameters, *statistics)
    ctx.set_materialize_grads(False)
    ctx.opened = ctx.built = None
    ctx.rebuilds = _way_to_rebuild(call.program, set(kept), made)


def _way_to_rebuild(program: Program, kept: set[int], made: set[int]) -> str | None:
    """How a node can build its result again; made: the inputs that others build again."""
    last = program.stages[-1]
    sources = program.sources_of_result
    if isinstance(last, Conv) or not sources <= kept | made:
        return None
    alone = len(sources) == 1 and min(sources) >= program.inputs
    return ALONE if alone else CHAINED


def _open(ctx: Any) -> tuple[Registers, Sequence[Any]]:
    """Registers and parameters of a node; unpacked once, for torch.utils.checkpoint allows no more."""
    if ctx.opened is None:
        saved = ctx.saved_tensors
        first, end = len(ctx.kept), len(ctx.kept) + ctx.parameter_count
        values = dict(zip(ctx.kept, saved[:first], strict=True))
        values |= {i: rebuild(maker) for i, maker in enumerate(ctx.call.makers) if maker is not None}
        statistics = (saved[i : i + 4] for i in range(end, len(saved), 4))
        norms = [Normaliser._make((*four, scope)) for four, scope in zip(statistics, ctx.scopes, strict=True)]
        ctx.opened = Registers(ctx.call.program, values, norms), saved[first:end]
    return ctx.opened


def rebuild(ctx: Any) -> Tensor:
    """The result of a node's forward pass, built once for all that read it."""
    if ctx.built is None:
        ctx.built = _open(ctx)[0].get(ctx.call.program.result)
    return ctx.built


class _Gradients:
    """The way back through a program.

    Attributes:
        pending: gradient of each register as far as it is known.
        centred: registers whose gradient comes from a BatchNorm by its batch's statistics alone. It sums to nothing in
            every channel, so a bias there has no gradient (torch's is what rounding leaves of that sum).
    """

    def __init__(self, ctx: Any) -> None:
        self.registers, self.weights = _open(ctx)
        self.pending: dict[int, Tensor] = {}
        self.centred: set[int] = set()
        self.parameters: list[Tensor | None] = [None] * len(self.weights)
        self.affine: list[Tensor | None] = [None] * (2 * len(ctx.scopes))
        count = ctx.call.program.inputs
        self.inputs = count
        self.needs = ctx.needs_input_grad[1:]
        self.low_sizes = ctx.low_sizes
        self.register = ctx.call.program.result

    def through(self, stage: Stage) -> None:
        """Go back through one stage; called from the last stage to the first."""
        centred = self.register in self.centred
        grad = self.pending.pop(self.register)
        self.register -= 1
        if isinstance(stage, Conv):
            self._conv(stage, grad, centred)
        elif isinstance(stage, Norm):
            self._norm(stage, grad)
        elif isinstance(stage, Relu):
            source = self.registers.get(stage.source)
            self._give(stage.source, torch.ops.aten.threshold_backward(grad, source, 0))
        elif isinstance(stage, Sum):
            self._give(stage.a, grad)
            self._give(stage.b, grad)
        else:
            self._give(stage.skip, grad)
            if self._wanted(stage.low):
                low_size = self.low_sizes[self.register + 1 - self.inputs]
                self._give(stage.low, upsample_add_backward(grad, *low_size))

    def _wanted(self, register: int) -> bool:
        return register >= self.inputs or self.needs[register]

    def _give(self, register: int, grad: Tensor) -> None:
        if self._wanted(register):
            self.pending[register] = self.pending[register] + grad if register in self.pending else grad
            self.centred.discard(register)

    def _addend(self, register: int) -> Tensor | None:
        """What other readers have given to a register, for a kernel to add its own gradient to."""
        self.centred.discard(register)
        return self.pending.pop(register, None)

    def _conv(self, stage: Conv, grad: Tensor, centred: bool) -> None:
        if stage.addend != NONE:
            self._give(stage.addend, grad)
        first = 2 * stage.conv
        source, weight = self.registers.get(stage.source), self.weights[first]
        addend = self._addend(stage.source)
        need_weight, need_bias = self.needs[self.inputs + first : self.inputs + first + 2]
        needs = (self._wanted(stage.source), need_weight, need_bias and not centred)
        x_grad, weight_grad, bias_grad = conv_ops.backward(grad, source, weight, stage.stride, needs, addend)
        if need_bias and centred:
            bias_grad = torch.zeros_like(self.weights[first + 1])
        self.parameters[first : first + 2] = weight_grad, bias_grad
        if x_grad is not None:
            self.pending[stage.source] = x_grad

    def _norm(self, stage: Norm, grad: Tensor) -> None:
        norm = self.registers.norms[stage.norm]
        residual = self.registers.optional(stage.residual) if stage.relu else None
        source, addend = self.registers.get(stage.source), self._addend(stage.source)
        x_grad, weight_grad, bias_grad, residual_grad = norm.backward(
            grad, source, residual, addend, stage.relu, stage.residual != NONE
        )
        if norm.weight is not None:
            self.affine[2 * stage.norm] = weight_grad.to(norm.weight.dtype)
        if norm.bias is not None:
            self.affine[2 * stage.norm + 1] = bias_grad.to(norm.bias.dtype)
        if self._wanted(stage.source):
            self.pending[stage.source] = x_grad
            if addend is None and norm.scope.of_batch and norm.scope.group is None:
                self.centred.add(stage.source)
        if stage.residual != NONE:  # which may be the source itself
            self._give(stage.residual, residual_grad)
