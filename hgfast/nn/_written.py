"""The forward passes of the blocks as programs, captured of the reference's plain code: a block is written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import _disable_current_modes

from hgfast.nn._program import Program
from hgfast.nn._structure import are_plain, part_at

if TYPE_CHECKING:
    from hgfast.fusion.lowered import Opened


@dataclass(frozen=True)
class Written:
    """A block's forward pass as one operation.

    Attributes:
        program: its stages.
        convolutions, norms: paths of the parts that they run, as the program numbers them.
        strides: of the convolutions.
        opened: the modules around those parts, whose code is the program's.
    """

    program: Program
    convolutions: Sequence[str]
    norms: Sequence[str]
    strides: Sequence[int]
    opened: Sequence[Opened]

    def parts_of(self, block: nn.Module) -> tuple[list[Any], list[Any]] | None:
        """Return the convolutions and the norms of a block; None where it has others than the program stands for."""
        try:
            if not all(opened.stands(block) for opened in self.opened):
                return None
            convs: list[Any] = [part_at(block, path) for path in self.convolutions]
            norms: list[Any] = [part_at(block, path) for path in self.norms]
        except (KeyError, AttributeError):  # a part has been taken away
            return None
        if not are_plain(convs, norms):
            return None
        return (convs, norms) if [conv.stride[0] for conv in convs] == self.strides else None


_known: dict[tuple[Any, ...], Written] = {}


def written(kind: type[nn.Module], *arguments: int, **flags: bool) -> Written:
    """Return the forward pass of the reference's block of a kind that is made with these arguments.

    It is captured at the first call of its kind, which constructors make: a trace of torch.compile finds it here.
    """
    key = (kind, arguments, *flags.items())
    found = _known.get(key)
    if found is None:
        found = _known[key] = _captured(kind, arguments, flags)
    return found


def _captured(kind: type[nn.Module], arguments: tuple[int, ...], flags: dict[str, bool]) -> Written:
    from hgfast.fusion.lowered import ProgramStep  # hgfast.fusion knows hgfast's blocks, which are made of this
    from hgfast.fusion.lowering import Lowering
    from hgfast.graph.capture import capture
    from hgfast.graph.undisturbed import undisturbed

    # Traces and transforms of the caller's see none of it.
    with _disable_current_modes(), temporarily_clear_interpreter_stack(), undisturbed(), torch.device("meta"):
        block = kind(*arguments, **flags)
        lowered = dict(Lowering(block, capture(block), True, set()).modules())[""]
    (step,) = lowered.steps
    assert isinstance(step, ProgramStep)
    opened = [part for part in lowered.opened if part.path]
    return Written(step.program, step.convolutions, step.norms, list(step.strides), opened)
