"""Every kernel of a plan held against torch, element by element, before its first use on this card.

Each distinct call (kernel, tile, splits of K, epilogue, sizes) runs on the plan's own sizes, in the plan's own buffers,
on random data with random weights; all elements of all images are compared with hgfast.frozen.expected. What is right
is remembered in the card's table (hgfast._kernel_table) and not tried again; what is wrong, or raises, is reported once
on the log "hgfast", remembered, and never chosen again: the plan is made again with the next kernel, in the end torch.

Not while a CUDA graph is captured, where nothing can be compared: a plan that is made there leaves out what is known to
be wrong and takes what is expected of the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from hgfast import _native
from hgfast.frozen.choices import Choices, Needs, label
from hgfast.frozen.expected import UNITS, Expected, expected, full_float32
from hgfast.frozen.failures import report, wait
from hgfast.frozen.graph import BottleneckCall, ConvCall, Extra, NativeCall, PointwiseCall, Second, Value
from hgfast.frozen.steps import Memory, StepMaker
from hgfast.frozen.torch_step import TORCH_ALONE
from hgfast.frozen.weights import Weights

log = logging.getLogger("hgfast")
CHUNK = 1 << 25  # elements of float32 that a comparison holds of a tensor at a time
WEIGHTS = 32  # of a result's weights are not zero, see hgfast.frozen.expected
NOISE_OFFSET = 1237  # elements between the beginnings of two tensors' noise


class Tried(Protocol):
    """Calls that are tried: a plan's (hgfast.frozen.plan), or one by itself (hgfast.frozen.one_call)."""

    batch: int
    dtype: torch.dtype
    device: torch.device
    weights: Weights
    choices: Choices
    maker: StepMaker
    needs: dict[Value, Needs]

    def native_calls(self) -> list[NativeCall]:
        """Return the calls that kernels run."""


def verify(plan: Tried) -> bool:
    """Try the kernels that nothing is known of; whether all are right. If not, the plan is to be made again."""
    choices, right, noise = plan.choices, True, None
    assert choices.table is not None
    for call in distinct_calls(plan):
        needs, name = plan.needs[call.output], choices.names[call.output]
        if needs.algorithm == TORCH_ALONE.algorithm or choices.finding(needs, name).right is not None:
            continue
        try:
            if noise is None:
                wait(plan.device)
            noise = noise or Noise(plan.maker.memory, plan.weights)
            why = Probe(plan, call, noise).fault(needs)
        except RuntimeError as error:  # torch's own: mostly, there is not enough memory
            log.warning("kernels are used that were not tried: %s", error)
            break
        choices.table.note(label(needs), name, right=not why, why=why)
        if why:  # kept at once: after an error of the device there may be no later
            choices.table.save()
            report(choices, needs, name, why, plan.device)
            wait(plan.device)
            right = False
    choices.table.save()
    return right


def distinct_calls(plan: Tried) -> list[NativeCall]:
    """Choose one call of each name: one that writes over its input, if there is such a one."""
    found: dict[str, NativeCall] = {}
    for call in plan.native_calls():
        name = plan.choices.names[call.output]
        if name not in found or _is_in_place(plan.maker.memory, call):
            found[name] = call
    return list(found.values())


def _is_in_place(memory: Memory, call: NativeCall) -> bool:
    places = {memory.offsets[value] for value in call.inputs() if value not in memory.external}
    return memory.offsets.get(call.output, -1) in places


def generator_on(device: torch.device) -> torch.Generator | None:
    """Make a generator that gives the same numbers each time."""
    return torch.Generator(device).manual_seed(0)


class Noise:
    """Random numbers from -1 to 1 that inputs are cut from; weights are drawn anew. The caller's generators rest."""

    def __init__(self, memory: Memory, weights: Weights) -> None:
        """Enough for the largest value of a plan."""
        self.device, self.dtype = memory.arena.device, memory.dtype
        self.generator = generator_on(self.device)
        largest = max(memory.batch * c * h * w for c, h, w in memory.shapes.values())
        in_tf32 = self.dtype == torch.float32 and not weights.exact
        self.weight_dtype = torch.bfloat16 if in_tf32 else self.dtype  # its numbers are tf32's too
        values = self.uniform(largest + 4 * NOISE_OFFSET)
        self.values, self.eighths = (
            values.to(self.weight_dtype).to(self.dtype),
            (values * 8).round_().to(self.dtype) / 8,
        )

    def uniform(self, *shape: int) -> Tensor:
        """float32, on the device."""
        return torch.rand(*shape, device=self.device, generator=self.generator) * 2 - 1

    def image(self, number: int, shape: tuple[int, int, int, int], in_eighths: bool) -> Tensor:
        """Return the number-th input of a call, (N, C, H, W) in channels_last."""
        n, c, h, w = shape
        values = (self.eighths if in_eighths else self.values)[number * NOISE_OFFSET :]
        return values[: n * c * h * w].view(n, h, w, c).permute(0, 3, 1, 2)

    def weight(self, terms: int, *shape: int) -> Tensor:
        """Return a weight that kernels can hold, as float32; about WEIGHTS of a sum's terms are not 0."""
        count = min(terms, WEIGHTS)
        weight = (self.uniform(*shape) * 3 * count**-0.5).to(self.weight_dtype).float()
        return weight if count == terms else weight * (self.uniform(*shape).abs_() < count / terms)

    def second(self, second: Second | None, k: int) -> Second | None:
        """Return a second output of the same value."""
        return None if second is None else Second(second.value, self.uniform(k) * 2, self.uniform(k))

    def call(self, call: NativeCall) -> NativeCall:
        """Return the same call with weights of its own."""
        if isinstance(call, BottleneckCall):
            return self._bottleneck(call)
        if isinstance(call, PointwiseCall):
            c = len(call.scale)
            return replace(call, scale=self.uniform(c) * 2, shift=self.uniform(c))
        if not isinstance(call, ConvCall):
            k = 0 if call.second is None else len(call.second.scale)
            return replace(call, second=self.second(call.second, k))
        k, extra = len(call.weight), call.extra
        terms = call.weight[0].numel() + (0 if extra is None else extra.weight.shape[1])
        weight = self.weight(terms, *call.weight.shape)
        if extra is not None:
            extra = Extra(extra.value, self.weight(terms, *extra.weight.shape), extra.stride)
        return replace(call, weight=weight, bias=self.uniform(k), extra=extra, second=self.second(call.second, k))

    def _bottleneck(self, call: BottleneckCall) -> BottleneckCall:
        """Return a call with numbers whose sums are exact, see hgfast.frozen.expected."""
        c = len(call.scale)

        def signs(*shape: int) -> Tensor:
            return (self.uniform(*shape) * 1.5).round_()

        def weight(like: Tensor) -> Tensor:
            return signs(*like.shape) * 2.0 ** -round(0.5 * torch.tensor(like[0].numel()).log2().item())

        inner = tuple(replace(v, weight=weight(v.weight), bias=signs(len(v.weight)) / 2) for v in call.convs)
        scale, shift, second = 1 - 2 * signs(c).abs(), signs(c) / 4, self.second(call.second, c)
        return replace(call, scale=scale, shift=shift, convs=inner, second=second)  # type: ignore[arg-type]


@dataclass
class Probe:
    """A call of a plan made on random data."""

    plan: Tried
    call: NativeCall
    noise: Noise

    def fault(self, needs: Needs) -> str:
        """Why this kernel cannot have the call; nothing where it can.

        Raises:
            RuntimeError: torch fails.
        """
        call, memory = self.noise.call(self.call), self.plan.maker.memory
        inputs, tensors = self._inputs(call), self._tensors
        try:
            step = self.maker(needs).make(call, needs)
            for _ in range(2 if needs.workspace_bytes else 1):  # the first call leaves the workspace fit for the second
                self._fill(call, inputs, tensors)
                step.run(tensors, _native.exec_handle(memory.arena))
            wait(self.plan.device)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
                raise torch.OutOfMemoryError(str(error)) from error
            return f"{type(error).__name__}: {error}"
        return self._compare(call, needs, inputs, [tensors[value] for value in self._written(call)])

    def ready(self, needs: Needs) -> Callable[[], None]:
        """Return a kernel's call on random data, to be timed; all kernels' have the same tensors."""
        call, tensors = self.noise.call(self.call), self._tensors
        self._fill(call, self._inputs(call), tensors)
        step, handle = self.maker(needs).make(call, needs), _native.exec_handle(self.plan.maker.memory.arena)
        return lambda: step.run(tensors, handle)

    def _fill(self, call: NativeCall, inputs: dict[Value, Tensor], tensors: dict[Value, Tensor]) -> None:
        """Fill the inputs with noise; outputs that are not in the place of one with what is never right."""
        for value, tensor in inputs.items():
            tensors[value].copy_(tensor)
        for value in self._written(call):
            if all(tensors[value].data_ptr() != tensors[read].data_ptr() for read in inputs):
                tensors[value].fill_(float("nan"))

    def maker(self, needs: Needs) -> StepMaker:
        """Return a maker of steps with weights of their own, and a workspace that is large enough."""
        weights = self.plan.weights
        own = Weights(weights.graph, weights.dtype, weights.device, weights.exact)
        return replace(self.plan.maker.with_workspace(needs.workspace_bytes), weights=own)

    def _written(self, call: NativeCall) -> list[Value]:
        return [call.output] if call.second is None else [call.output, call.second.value]

    def _inputs(self, call: NativeCall) -> dict[Value, Tensor]:
        memory, eighths = self.plan.maker.memory, isinstance(call, BottleneckCall)
        values = dict.fromkeys(call.inputs())
        return {
            value: self.noise.image(number, (memory.batch, *memory.shapes[value]), eighths)
            for number, value in enumerate(values)
        }

    @cached_property
    def _tensors(self) -> dict[Value, Tensor]:
        """Where the call's values are: external ones in memory of their own."""
        memory, found = self.plan.maker.memory, dict[Value, Tensor]()
        for value in (*self.call.inputs(), *self._written(self.call)):
            shape = memory.batch, *memory.shapes[value]
            if value not in memory.external:
                found[value] = memory.tensor(value)
            elif value not in found:
                device, layout = memory.arena.device, torch.channels_last
                found[value] = torch.empty(shape, dtype=memory.dtype, device=device, memory_format=layout)
        return found

    def _compare(self, call: NativeCall, needs: Needs, inputs: dict[Value, Tensor], outputs: list[Tensor]) -> str:
        """Return the first difference that is too large; nothing if there is none."""
        largest = max(tensor[0].numel() for tensor in (*inputs.values(), *outputs))
        images = max(1, CHUNK // largest)
        for first in range(0, self.plan.batch, images):
            chosen = slice(first, first + images)
            part = {value: tensor[chosen].float() for value, tensor in inputs.items()}
            with full_float32():
                references = expected(call, needs, part, self.plan.dtype, self.plan.weights.exact)
            for name, output, reference in zip(("y", "y2"), outputs, references, strict=False):
                difference = describe_difference(output[chosen], reference, self.plan.dtype, first)
                if difference:
                    return f"{name} differs from torch's in float32: {difference}"
        return ""


def describe_difference(output: Tensor, reference: Expected, dtype: torch.dtype, first: int) -> str:
    """Say how many elements differ by more than they may, and which most; nothing if none does. first: its image."""
    allowed = UNITS[dtype] * reference.value.abs() + reference.bound
    error = (output.float() - reference.value).abs_()
    wrong = ~(error <= allowed)
    count = int(wrong.sum().item())
    if not count:
        return ""
    ratio = torch.where(wrong, (error / allowed).nan_to_num(nan=torch.inf, posinf=torch.inf), 0)
    worst = int(ratio.argmax().item())
    index = [int(i) for i in torch.unravel_index(torch.tensor(worst), ratio.shape)]
    at = tuple(index)
    return (
        f"{count} of {wrong.numel()} elements; image {first + index[0]}, channel {index[1]}, pixel "
        f"({index[2]}, {index[3]}) is {output[at].item():.6g} and must be {reference.value[at].item():.6g} "
        f"within {allowed.expand_as(error)[at].item():.2g}"
    )
