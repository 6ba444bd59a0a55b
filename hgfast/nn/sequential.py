"""A Sequential that runs convolution, BatchNorm and ReLU in a row as one operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from hgfast.nn._program import conv_program, norm_program
from hgfast.nn._structure import has_hooks, is_plain_conv, is_plain_norm, parameters_of
from hgfast.nn._tape import run

__all__ = ["FusedSequential"]


def _groups(modules: list[nn.Module]) -> Iterator[list[nn.Module]]:
    """[Conv2d], BatchNorm2d, [ReLU] wherever they follow each other, any other module alone."""
    i = 0
    while i < len(modules):
        end = i
        end += end < len(modules) and is_plain_conv(modules[end])
        if end < len(modules) and is_plain_norm(modules[end]):
            end += 1
            end += end < len(modules) and type(modules[end]) is nn.ReLU and not has_hooks(modules[end])
        else:
            end = i + 1
        yield modules[i:end]
        i = end


def has_groups(module: nn.Sequential) -> bool:
    """Whether anything in it can run as one operation."""
    return any(len(group) > 1 for group in _groups(list(module)))


def in_groups(module: nn.Sequential) -> set[nn.Module]:
    """The modules in it that run as parts of one operation."""
    return {part for group in _groups(list(module)) if len(group) > 1 for part in group}


class FusedSequential(nn.Sequential):
    """``nn.Sequential`` with the same children and keys; convolution, BatchNorm and ReLU in a row are one operation."""

    recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """Pass x (N, C, H, W) through all children."""
        for group in _groups(list(self)):
            x = self._run(group, x) if len(group) > 1 else group[0](x)
        return x

    def _run(self, group: list[Any], x: Tensor) -> Tensor:
        relu = type(group[-1]) is nn.ReLU
        norm = group[-2] if relu else group[-1]
        if group[0] is norm:
            return run(norm_program(1, relu), [x], norms=[norm], recompute=self.recompute)
        program = conv_program(group[0].stride[0], True, relu)
        return run(program, [x], parameters_of(group[0]), [norm], self.recompute)
