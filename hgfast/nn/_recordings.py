"""Recordings of forward and backward passes, made at the first call of their kind and kept.

A pass is recorded for float32 tensors on the CPU, activations in channels_last, where nobody watches the operators:
then Python's part in a residual block is to find its recording and to make a few tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from hgfast import _native, _switches
from hgfast._checks import PLAIN
from hgfast.nn._gradients import Gradients
from hgfast.nn._norm_record import NormRecord, NormSettings
from hgfast.nn._program import Program
from hgfast.nn._recorder import CannotRecord, Recorder, Value
from hgfast.nn._recording import Recording
from hgfast.nn._registers import Forward, Registers
from hgfast.ops._conv_choice import winograd_enabled

MOST = 4096  # recordings that are kept
Key = tuple[Any, ...]
Record = tuple[list[Value | None], list[Value | None], Any]
"""What a recording is given, what it returns, and notes."""
_kept: dict[Key, Recording | None] = {}


class Shapes(NamedTuple):
    """What a recording must know of the tensors that it is given, in their order.

    activations: sizes of those of 4 dimensions in channels_last.
    weights: size, and whether it is in channels_last, for each convolution.
    biases: lengths, one for each convolution, 0 for none.
    vectors: lengths of mean, variance, weight and bias of each norm, 0 for none.
    """

    activations: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[tuple[int, ...], bool], ...]
    biases: tuple[int, ...]
    vectors: tuple[int, ...]


def is_possible() -> bool:
    """Whether calls may go past the operators: nobody watches them, and none is turned off."""
    watched = torch._C._len_torch_dispatch_stack() or torch._C._autograd._profiler_enabled()
    return not watched and not _switches.disabled and _native.library("cpu") is not None


def shapes_of(activations: Sequence[Any], parameters: Sequence[Any], vectors: Sequence[Any]) -> Shapes | None:
    """Return the shapes, if all are float32 tensors on the CPU that hold numbers; vectors: of the norms."""
    for tensor in (*activations, *parameters, *vectors):
        if tensor is not None and not (
            type(tensor) in PLAIN and tensor.dtype is torch.float32 and tensor.is_cpu and not tensor.is_neg()
        ):
            return None
    if _native.on_cuda(activations[0]):  # the emulator's
        return None
    for x in activations:
        if x.dim() != 4 or not x.numel() or not x.is_contiguous(memory_format=torch.channels_last):
            return None
    weights = []
    for weight in parameters[::2]:
        ordinary = weight.is_contiguous()
        if weight.dim() != 4 or not (ordinary or weight.is_contiguous(memory_format=torch.channels_last)):
            return None
        weights.append((weight.shape, not ordinary))
    biases, lengths = _lengths(parameters[1::2]), _lengths(vectors)
    if biases is None or lengths is None:
        return None
    return Shapes(tuple([x.shape for x in activations]), tuple(weights), biases, lengths)


def _lengths(vectors: Sequence[Any]) -> tuple[int, ...] | None:
    """Length of each vector, 0 for None; None if one is no dense vector, or empty."""
    if all(vector is None or (vector.dim() == 1 and vector.numel() and vector.is_contiguous()) for vector in vectors):
        return tuple([0 if vector is None else vector.shape[0] for vector in vectors])
    return None


class Given:
    """Values that stand for tensors of some shapes."""

    def __init__(self, recorder: Recorder, shapes: Shapes, norms: Sequence[NormSettings]) -> None:
        self.activations = [Value(shape) for shape in shapes.activations]
        self.parameters: list[Value | None] = []
        for (shape, channels_last), bias in zip(shapes.weights, shapes.biases, strict=True):
            self.parameters += [Value(shape, channels_last), Value((bias,)) if bias else None]
        self.vectors = [Value((length,)) if length else None for length in shapes.vectors]
        self.norms = [
            NormRecord(recorder, settings, *self.vectors[4 * i : 4 * i + 4]) for i, settings in enumerate(norms)
        ]

    @property
    def all(self) -> list[Value | None]:
        """In the order of the tensors."""
        return [*self.activations, *self.parameters, *self.vectors]


def forward(program: Program, shapes: Shapes, norms: tuple[NormSettings, ...], keeps: bool) -> Recording | None:
    """Run the forward pass: given the inputs, it returns the result.

    If it keeps them, behind it come what the plan keeps of what is made, and mean and variance of each norm. The notes
    are: values per channel of each norm, see Forward.low_sizes, and the registers that are kept.
    """

    def record(recorder: Recorder) -> Record:
        given = Given(recorder, shapes, norms)
        done = Forward(program, given.activations, given.parameters, given.norms, recorder)
        kept = {register: value for register, value in done.kept.items() if register >= program.inputs and keeps}
        statistics = [value for norm in done.norms for value in norm.statistics] if keeps else []
        notes = [norm.count for norm in done.norms], done.low_sizes, tuple(kept)
        return given.all, [done.result, *kept.values(), *statistics], notes

    return _find(("forward", program.key, shapes, norms, keeps), record)


def rebuild(
    program: Program, shapes: Shapes, norms: tuple[NormSettings, ...], registers: tuple[int, ...]
) -> Recording | None:
    """Compute the result of a program again, given the values of some registers."""

    def record(recorder: Recorder) -> Record:
        given = Given(recorder, shapes, norms)
        values = dict(zip(registers, given.activations, strict=True))
        return given.all, [Registers(program, values, given.norms, recorder).get(program.result)], None

    return _find(("rebuild", program.key, shapes, norms, registers), record)


def backward(
    program: Program,
    shapes: Shapes,
    norms: tuple[NormSettings, ...],
    registers: tuple[int, ...],
    needs: tuple[bool, ...],
    low_sizes: tuple[tuple[int, Any], ...],
) -> Recording | None:
    """Compute the gradients, given that of the result and the values of some registers; see Gradients."""

    def record(recorder: Recorder) -> Record:
        given = Given(recorder, shapes, norms)
        grad, *activations = given.activations
        values = Registers(program, dict(zip(registers, activations, strict=True)), given.norms, recorder)
        return given.all, Gradients(values, given.parameters, needs, dict(low_sizes)).of(grad), None

    return _find(("backward", program.key, shapes, norms, registers, needs, low_sizes), record)


def _find(key: Key, record: Callable[[Recorder], Record]) -> Recording | None:
    """Return the recording of a key; record: writes it down."""
    key = (*key, winograd_enabled())
    if key in _kept:
        return _kept[key]
    recorder, recording = Recorder(), None
    try:
        given, results, notes = record(recorder)
        recording = Recording(recorder.lib, recorder.calls, given, results, notes)
    except CannotRecord:
        pass  # the operators say why
    while len(_kept) >= MOST:
        with suppress(RuntimeError, StopIteration):  # another thread has been at it meanwhile
            _kept.pop(next(iter(_kept)), None)
    _kept[key] = recording
    return recording
