"""Whether the stages of a program can run on given tensors, by torch's rules without broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hgfast._checks import PLAIN
from hgfast.nn._program import NONE, Conv, Merge, Norm, Program, Relu
from hgfast.ops._registry import is_recorded

Shape = tuple[int, ...]
MOST_SHAPES = 64  # that are remembered


class Fits:
    """Answers for one program, remembered by shapes."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.known: dict[tuple[Shape, ...], bool] = {}

    def __call__(self, inputs: Sequence[Any], convs: Sequence[Any], norms: Sequence[Any]) -> bool:
        """Whether inputs are plain tensors (N, C, H, W), not empty, of one floating dtype and device, that fit."""
        first = inputs[0]
        if not all(isinstance(x, Tensor) and x.dim() == 4 for x in inputs) or not first.is_floating_point():
            return False
        kind = first.device.type
        mixed = (
            bool(convs) and torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        )  # to one dtype
        if any(x.device != first.device or not (mixed or x.dtype == first.dtype) for x in inputs):
            return False
        if any(conv.weight.device != first.device or not (mixed or conv.weight.dtype == first.dtype) for conv in convs):
            return False
        if is_recorded():
            return self._fit([x.shape for x in inputs], convs, norms)
        if not all(type(x) in PLAIN and x.layout is torch.strided for x in inputs):
            return False
        shapes = tuple([x.shape for x in inputs])
        fit = self.known.get(shapes)
        if fit is None:
            fit = self._fit(shapes, convs, norms)
            if len(self.known) >= MOST_SHAPES:
                self.known.clear()
            self.known[shapes] = fit
        return fit

    def _fit(self, inputs: Sequence[Shape], convs: Sequence[Any], norms: Sequence[Any]) -> bool:
        shapes: list[Shape] = [tuple(shape) for shape in inputs]
        if any(0 in shape for shape in shapes):
            return False
        for stage in self.program.stages:
            shape = _result(stage, shapes, convs, norms)
            if shape is None:
                return False
            shapes.append(shape)
        return True


def _result(stage: Any, shapes: list[Shape], convs: Sequence[Any], norms: Sequence[Any]) -> Shape | None:
    """Return the shape of a stage's result; None where the stage does not fit."""
    n, c, h, w = shape = shapes[stage[0]]
    other = NONE
    if isinstance(stage, Conv):
        weight = convs[stage.conv].weight
        if weight.shape[1] != c:
            return None
        shape = (n, weight.shape[0], -(-h // stage.stride), -(-w // stage.stride))
        other = stage.addend
    elif isinstance(stage, Norm):
        if norms[stage.norm].num_features != c:
            return None
        other = stage.residual
    elif isinstance(stage, Merge):
        low, factor = shapes[stage.low], stage.factor
        fits = low[:2] == (n, c) and (not factor or (factor * low[2], factor * low[3]) == (h, w))
        return shape if fits else None
    elif not isinstance(stage, Relu):
        other = stage.b
    return shape if other == NONE or shapes[other] == shape else None
