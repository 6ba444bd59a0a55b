"""Programs on tensors by recordings: their forward pass, the way back, and their results built again.

Each function gives None where the tensors, the modules or who is watching allow no recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hgfast.nn import _recordings as recordings
from hgfast.nn._norm import Normaliser, NormState, Scope
from hgfast.nn._norm_record import NormSettings
from hgfast.nn._program import Program


class Replayed(NamedTuple):
    """As Forward."""

    result: Tensor
    kept: dict[int, Tensor]
    norms: list[Normaliser]
    low_sizes: Mapping[int, Any]


class Unpacked(NamedTuple):
    """What is at hand in a backward pass: values of registers, parameters of convolutions, norms."""

    program: Program
    values: dict[int, Tensor]
    parameters: Sequence[Any]
    norms: list[Normaliser]


def forward(
    program: Program, inputs: Sequence[Any], parameters: Sequence[Any], states: Sequence[NormState], keeps: bool
) -> Replayed | None:
    """Run the forward pass; running statistics move. keeps: whether a gradient will be asked for."""
    described = _describe(states) if recordings.is_possible() else None
    if described is None:
        return None
    settings, vectors = described
    shapes = recordings.shapes_of(inputs, parameters, vectors)
    recording = None if shapes is None else recordings.forward(program, shapes, settings, keeps)
    if recording is None:
        return None
    for state in states:
        state.count_batch()
    result, *others = recording.run([*inputs, *parameters, *vectors])
    counts, low_sizes, made = recording.notes
    kept = {register: inputs[register] for register in program.lifetimes.kept if register < program.inputs}
    kept.update(zip(made, others, strict=False))
    statistics = others[len(made) :]
    norms = []
    for i, state in enumerate(states if keeps else ()):
        scope = Scope(counts[i], state.of_batch, None, state.eps)
        norms.append(Normaliser(statistics[2 * i], statistics[2 * i + 1], state.weight, state.bias, scope))
    return Replayed(result, kept, norms, low_sizes)


def backward(
    opened: Unpacked, grad: Tensor, needs: tuple[bool, ...], low_sizes: Mapping[int, Any]
) -> Sequence[Tensor | None] | None:
    """Compute gradients of inputs, parameters and norms."""
    if not recordings.is_possible() or any(norm.scope.group is not None for norm in opened.norms):
        return None
    grad = grad.contiguous(memory_format=torch.channels_last).resolve_neg()
    registers, activations = tuple(opened.values), (grad, *opened.values.values())
    settings, vectors = _settings(opened.norms)
    shapes = recordings.shapes_of(activations, opened.parameters, vectors)
    if shapes is None:
        return None
    recording = recordings.backward(opened.program, shapes, settings, registers, needs, tuple(low_sizes.items()))
    return None if recording is None else recording.run([*activations, *opened.parameters, *vectors])


def rebuild(opened: Unpacked) -> Tensor | None:
    """Return the result of the forward pass."""
    if not recordings.is_possible():
        return None
    settings, vectors = _settings(opened.norms)
    activations = tuple(opened.values.values())
    shapes = recordings.shapes_of(activations, (), vectors)
    if shapes is None:
        return None
    recording = recordings.rebuild(opened.program, shapes, settings, tuple(opened.values))
    return None if recording is None else recording.run([*activations, *vectors])[0]


def _describe(states: Sequence[NormState]) -> tuple[tuple[NormSettings, ...], list[Any]] | None:
    """Return what a forward pass depends on in its norms, and mean, variance, weight and bias of each."""
    settings, vectors = [], []
    for state in states:
        momentum = state.bn.momentum if state.moves else None
        if state.group is not None or (state.moves and not isinstance(momentum, float)):
            return None  # several processes, or a momentum that depends on how many batches have been seen
        settings.append(NormSettings(state.of_batch, state.eps, momentum))
        running = (None, None) if state.of_batch and not state.moves else (state.running_mean, state.running_var)
        vectors += [*running, state.weight, state.bias]
    return tuple(settings), vectors


def _settings(norms: Sequence[Normaliser]) -> tuple[tuple[NormSettings, ...], list[Any]]:
    """Return what a backward pass depends on in its norms, and mean, variance, weight and bias of each."""
    settings = tuple([NormSettings(norm.scope.of_batch, norm.scope.eps, None) for norm in norms])
    return settings, [vector for norm in norms for vector in norm[:4]]
