"""Stages that run as one autograd operation: the way back needs no value between them.

An operation gives one value. It takes in the stages whose results nothing else reads, up to a few convolutions: enough
for any residual block, and few enough that gradients of a network become ready one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hgfast.fusion.groups import CONV, MERGE, NORM, Group
from hgfast.fusion.values import Values
from hgfast.nn import _program as stages
from hgfast.nn._program import NONE, Program

MOST_CONVOLUTIONS = 4


@dataclass
class Operation:
    """Stages in their order, the last one's value being the result."""

    groups: list[Group]

    @property
    def inputs(self) -> list[int]:
        """Values from outside, each once; the main one of the first stage comes first."""
        made = {group.value for group in self.groups}
        return list(dict.fromkeys(value for group in self.groups for value in group.reads if value not in made))

    @property
    def convolutions(self) -> list[str]:
        """Paths of the convolutions, as the program numbers them."""
        return [group.module for group in self.groups if group.kind == CONV]

    @property
    def norms(self) -> list[str]:
        """Paths of the BatchNorms, as the program numbers them."""
        return [group.module for group in self.groups if group.kind == NORM]

    def pays(self) -> bool:
        """Whether there is more in it than sums and ReLUs, which torch runs as fast."""
        return any(group.kind in (CONV, NORM, MERGE) for group in self.groups)

    def program(self, strides: dict[str, int]) -> Program:
        """Return the operation for `hgfast.nn._tape`; strides: of the convolutions."""
        registers = {value: i for i, value in enumerate(self.inputs)}
        made: list[stages.Stage] = []
        convolutions = norms = 0
        for group in self.groups:
            source, other = registers[group.source], NONE if group.other is None else registers[group.other]
            if group.kind == CONV:
                made.append(stages.Conv(source, convolutions, strides[group.module], other))
                convolutions += 1
            elif group.kind == NORM:
                made.append(stages.Norm(source, norms, other, group.relu))
                norms += 1
            elif group.kind == MERGE:
                made.append(stages.Merge(source, other, group.factor))
            else:
                made.append(stages.Relu(source) if other == NONE else stages.Sum(source, other))
            registers[group.value] = len(registers)
        return Program(len(self.inputs), tuple(made))


def operations_of(groups: Iterable[Group], values: Values, outside: set[int]) -> list[Operation]:
    """Return the operations that the stages of one module make.

    Args:
        groups: the stages.
        values: of the graph.
        outside: values that are read by anything else than stages of this module.
    """
    ordered = sorted(groups, key=lambda group: group.value)
    readers: dict[int, list[Group]] = {}
    for group in ordered:
        for value in group.reads:
            readers.setdefault(value, []).append(group)
    convolved = {group.value for group in ordered if group.kind == CONV}
    part_of: dict[int, Operation] = {}
    found: list[Operation] = []
    for group in reversed(ordered):
        operation = _shared(group, readers, part_of, values, outside)
        more = group.kind == CONV or group.source in convolved  # a BatchNorm is not parted from its convolution
        if operation is not None and more and len(operation.convolutions) >= MOST_CONVOLUTIONS:
            operation = None
        if operation is None:
            operation = Operation([])
            found.append(operation)
        operation.groups.insert(0, group)
        part_of[group.value] = operation
    return found[::-1]


def _shared(
    group: Group, readers: dict[int, list[Group]], part_of: dict[int, Operation], values: Values, outside: set[int]
) -> Operation | None:
    """Return the operation of all that read a stage's result, if the stage can be part of it."""
    reading = readers.get(group.value, [])
    if group.value in outside or not reading:
        return None
    operation = part_of[reading[0].value]
    apart = any(part_of[reader.value] is not operation for reader in reading)
    cheap = group.kind == NORM and group.other is None  # to be computed once more for each of its readers
    border = values.span(group.value) != values.span(operation.groups[-1].value)
    return None if apart or (len(reading) > 1 and not cheap) or border else operation
