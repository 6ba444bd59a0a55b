"""Check that a lowered module computes the same as its own code.

Both run as copies, in float64 on the CPU, with random parameters and statistics, so that nothing hides behind a zero or
a fresh BatchNorm: in training and evaluation, with and without gradients; results, gradients, running statistics. Tried
are modules that call no other one and take one tensor: residual blocks and the like. Others are made of the same steps.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hgfast.fusion.classes import put
from hgfast.fusion.copies import clean_copy, generator
from hgfast.fusion.lowered import Lowered, ModuleStep, ProgramStep
from hgfast.fusion.structure import structure
from hgfast.graph.captured import Ref
from hgfast.graph.undisturbed import undisturbed
from hgfast.nn._program import Conv, Norm

EVEN, ODD = (2, 4, 2), (3, 3, 2)  # N, H, W; small, for the channels may be those of the module
CASES = ((True, EVEN, True), (True, ODD, False), (False, EVEN, True), (False, ODD, False))  # training, size, gradients
NARROW = 8  # channels to which copies are cut down, for speed
DIFFERENT = "its steps do not give what its code gives"


class Prover:
    """Tries modules, those of one structure once."""

    def __init__(self) -> None:
        self.proved: dict[Any, str | None] = {}

    def objection(self, module: nn.Module, lowered: Lowered) -> str | None:
        """Why the steps may not stand for the module; None if they may. Neither is changed, nor random generators."""
        channels = _channels(module, lowered)
        if channels is None:
            return None
        known = structure(module)
        programs = (step.program.key for step in lowered.steps if isinstance(step, ProgramStep))
        key = known and (known, lowered.training, len(lowered.steps), *programs)
        if key is None or key not in self.proved:
            with undisturbed():
                reason = _tried(module, lowered, channels, NARROW)
                self.proved[key] = reason and _tried(module, lowered, channels, None)
        return self.proved[key]


def _channels(module: nn.Module, lowered: Lowered) -> int | None:
    """Return the channels of the only tensor that a module takes, if known and it calls no other module."""
    if len(lowered.args) != 1 or lowered.kwargs or not isinstance(lowered.args[0], Ref):
        return None
    if any(isinstance(step, ModuleStep) for step in lowered.steps):
        return None
    given = lowered.args[0].value
    for step in lowered.steps:
        if isinstance(step, ProgramStep) and given in step.inputs:
            register = step.inputs.index(given)
            for stage in step.program.stages:
                if isinstance(stage, Conv) and stage.source == register:
                    return int(module.get_submodule(step.convolutions[stage.conv]).in_channels)  # type: ignore[arg-type]
                if isinstance(stage, Norm) and stage.source == register:
                    return int(module.get_submodule(step.norms[stage.norm]).num_features)  # type: ignore[arg-type]
    return None


def _tried(module: nn.Module, lowered: Lowered, channels: int, width: int | None) -> str | None:
    """Return the objection against copies cut down to `width` channels."""
    try:
        plain = clean_copy(module, width=width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    except Exception as error:  # of whatever hangs on a user's module
        return f"it cannot be copied: {_words(error)}"
    fused, before = copy.deepcopy(plain), copy.deepcopy(plain.state_dict())
    put(fused, copy.deepcopy(lowered))
    for training, (batch, height, w), gradients in CASES:
        shape = batch, min(channels, width or channels), height, w
        x = torch.randn(shape, dtype=torch.float64, device="cpu", generator=generator())
        x = x.contiguous(memory_format=torch.channels_last)  # for random numbers are drawn in the order of memory
        try:
            wanted = _run(plain.train(training), x, gradients)
        except Exception:  # a user's code may raise anything, for so small images among others
            plain.load_state_dict(before)
            fused.load_state_dict(before)
            continue
        try:
            got = _run(fused.train(training), x, gradients)
        except (RuntimeError, ValueError, TypeError):
            return DIFFERENT
        if got.keys() != wanted.keys() or not all(_close(got[name], wanted[name]) for name in wanted):
            return DIFFERENT
    return None


def _run(module: nn.Module, x: Tensor, gradients: bool) -> dict[str, Tensor]:
    """Return what module makes of x, with all gradients or without any."""
    module.zero_grad()
    leaf = x.clone().requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        given = leaf * 1
        torch.manual_seed(0)
        y = module(given)
        results = [part for part in torch.utils._pytree.tree_leaves(y) if isinstance(part, Tensor)]
        if gradients:
            seeds = [torch.randn(part.shape, dtype=part.dtype, generator=generator()) for part in results]
            torch.autograd.backward(results, seeds)
    found = {"input": given.detach(), "gradient": leaf.grad, **{name: b.clone() for name, b in module.named_buffers()}}
    found |= {f"result {i}": part.detach() for i, part in enumerate(results)}
    found |= {f"gradient {name}": p.grad for name, p in module.named_parameters()}
    return {name: value for name, value in found.items() if value is not None}


def _close(got: Tensor, wanted: Tensor) -> bool:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    difference = (got - wanted).abs().double()
    return not difference.numel() or bool(difference.max() <= 1e-7 * wanted.abs().max().double() + 1e-8)


def _words(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:100]}" if text else type(error).__name__
