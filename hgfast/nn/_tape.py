"""A program as one autograd operation that keeps only what cannot be computed again cheaply.

Kept for the backward pass: the inputs, and what convolutions hand to a BatchNorm. The results of BatchNorm and ReLU are
computed again where a gradient needs them. An input that another such operation made is not kept either if that one
(the input's grad_fn) can build it again from a kept convolution alone, and with `recompute` if it can build it at all.
On CUDA what is SMALL is kept nevertheless, but for `recompute`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hgfast import _checks
from hgfast.nn import _kernels
from hgfast.nn import _replay as replay
from hgfast.nn._casts import cast
from hgfast.nn._gradients import Gradients
from hgfast.nn._norm import Normaliser, NormState
from hgfast.nn._program import Conv, Program, compose
from hgfast.nn._registers import Forward, Registers
from hgfast.ops._registry import is_recorded

SMALL = 4 << 20  # bytes that an H200 reads and writes in 2 us (computed), less than the launch that would do it takes
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
        recompute: keep no input that another program can build again, whatever chain of programs that takes, nor
            anything because it is small.

    Raises:
        TypeError: the first input is no dense tensor of floating-point numbers.
        ValueError: it has not 4 dimensions, or the tensors of a stage do not fit each other.
    """
    _checks.tensor("", "x", inputs[0], ndim=4)
    dtype = _autocast_dtype(inputs[0]) if parameters else None
    if dtype is not None:
        inputs = [x.to(dtype) for x in inputs]
    states = [NormState(bn) for bn in norms]
    if is_recorded():
        wanted = [p if p is None or dtype is None else p.to(dtype) for p in parameters]
        return compose(program, states, inputs, wanted)
    affine = [tensor for state in states for tensor in (state.weight, state.bias)]
    small = SMALL if inputs[0].is_cuda and not recompute else 0
    makers = [_maker(x, recompute, small) for x in inputs]
    keeps = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (*inputs, *parameters, *affine))
    return Tape.apply(TapeCall(program, states, makers, keeps, dtype, small), *inputs, *parameters, *affine)


def _maker(x: Tensor, recompute: bool, small: int) -> Any:
    """Return the node that builds an input again; None where the input is kept."""
    ways = {ALONE, CHAINED} if recompute else {ALONE}
    return x.grad_fn if getattr(x.grad_fn, "rebuilds", None) in ways and (not small or x.nbytes > small) else None


def _autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Return what autocast wants a convolution of x to be computed in; None where it leaves that open."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return None
    return torch.get_autocast_dtype(device)


@dataclass
class TapeCall:
    """What a call has beside its tensors.

    Attributes:
        makers: the node that builds each input again, or None.
        keeps: whether anything is kept for a gradient.
        dtype: what autocast wants the parameters to be cast to, or None.
        small: bytes up to which values are kept that could be computed again.
    """

    program: Program
    norms: list[NormState]
    makers: list[Any]
    keeps: bool
    dtype: torch.dtype | None
    small: int


class Tape(torch.autograd.Function):
    """The autograd operation."""

    @staticmethod
    def forward(ctx: Any, call: TapeCall, *tensors: Tensor | None) -> Tensor:
        """tensors: inputs, parameters, then weight and bias of each norm."""
        count = call.program.inputs
        inputs, given = tensors[:count], tensors[count : len(tensors) - 2 * len(call.norms)]
        parameters = given if call.dtype is None else cast(given, [call.dtype] * len(given))
        done: Forward | replay.Replayed | None = replay.forward(
            call.program, inputs, parameters, call.norms, call.keeps
        )
        if done is None:
            small = call.small if call.keeps else 0
            done = Forward(call.program, inputs, parameters, call.norms, _kernels, small)
        if call.keeps:
            ctx.dtypes = [None if parameter is None else parameter.dtype for parameter in given]
            _save(ctx, call, done, parameters)
        return done.result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        """Compute gradients in the order of forward's arguments."""
        if grad is None:
            return (None,) * len(ctx.needs_input_grad)
        opened, needs = _open(ctx), ctx.needs_input_grad[1:]
        gradients = replay.backward(opened, grad, needs, ctx.low_sizes)
        if gradients is None:
            registers = Registers(opened.program, opened.values, opened.norms, _kernels)
            way = Gradients(registers, opened.parameters, needs, ctx.low_sizes)
            made, first = way.of(grad), opened.program.inputs
            end = first + len(ctx.dtypes)
            gradients = [*made[:first], *cast(made[first:end], ctx.dtypes, way.idle), *made[end:]]
        ctx.opened = ctx.built = None
        return None, *gradients


def _save(ctx: Any, call: TapeCall, done: Forward | replay.Replayed, parameters: Sequence[Any]) -> None:
    """Save all tensors by ctx.save_for_backward; ctx.call and the scopes of norms hold none."""
    kept, norms = done.kept, done.norms
    made = {i for i, maker in enumerate(call.makers) if maker is not None}
    ctx.call, ctx.kept = replace(call, norms=[]), [register for register in kept if register not in made]
    ctx.scopes = [norm.scope for norm in norms]
    ctx.parameter_count = len(parameters)
    statistics = (tensor for norm in norms for tensor in norm[:4])
    ctx.save_for_backward(*(kept[register] for register in ctx.kept), *parameters, *statistics)
    ctx.set_materialize_grads(False)
    ctx.low_sizes = done.low_sizes
    ctx.opened = ctx.built = None
    ctx.rebuilds = _way_to_rebuild(call.program, set(kept), made)


def _way_to_rebuild(program: Program, kept: set[int], made: set[int]) -> str | None:
    """Return how a node can build its result again; made: the inputs that others build again."""
    last = program.stages[-1]
    sources = program.sources_of_result
    if isinstance(last, Conv) or not sources <= kept | made:
        return None
    alone = len(sources) == 1 and min(sources) >= program.inputs
    return ALONE if alone else CHAINED


def _open(ctx: Any) -> replay.Unpacked:
    """Return what a node has kept; unpacked once, for torch.utils.checkpoint allows no more."""
    if ctx.opened is None:
        saved = ctx.saved_tensors
        first, end = len(ctx.kept), len(ctx.kept) + ctx.parameter_count
        values = dict(zip(ctx.kept, saved[:first], strict=True))
        values |= {i: rebuild(maker) for i, maker in enumerate(ctx.call.makers) if maker is not None}
        statistics = (saved[i : i + 4] for i in range(end, len(saved), 4))
        norms = [Normaliser._make((*four, scope)) for four, scope in zip(statistics, ctx.scopes, strict=True)]
        ctx.opened = replay.Unpacked(ctx.call.program, values, saved[first:end], norms)
    return ctx.opened


def rebuild(ctx: Any) -> Tensor:
    """Return the result of a node's forward pass, built once for all that read it."""
    if ctx.built is None:
        opened = _open(ctx)
        ctx.built = replay.rebuild(opened)
        if ctx.built is None:
            registers = Registers(opened.program, opened.values, opened.norms, _kernels)
            ctx.built = registers.get(opened.program.result)
    return ctx.built
