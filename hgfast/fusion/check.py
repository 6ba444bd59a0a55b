"""Proof that a fused module computes what the module does that it is to replace.

Both run as copies, in float64 on the CPU, with random parameters and statistics, so that nothing hides behind a zero or
a fresh BatchNorm: training and evaluation mode, results, gradients, running statistics. What numbers cannot show is
asked for by itself: `source` reads the code, `record` counts the functions of torch that run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hgfast import reference
from hgfast.fusion import source
from hgfast.fusion.adopt import adopt
from hgfast.fusion.copies import clean_copy, generator, narrowed, random_state, undisturbed
from hgfast.fusion.record import Recorder
from hgfast.fusion.twins import WITHOUT_PARTS, plain_twin
from hgfast.nn import Bottleneck

EVEN, ODD = (2, 4, 2), (3, 3, 2)  # N, H, W; small, for the channels may be those of the module
CASES = ((True, EVEN, True), (True, ODD, False), (False, EVEN, True), (False, ODD, False))  # training, size, gradients
NARROW = 8  # channels to which copies are cut down, for speed
DIFFERENT = "it does not compute what its structure suggests"
Build = Callable[[nn.Module], nn.Module | None]


def objection(module: nn.Module, build: Build, channels: int, parts: dict[str, nn.Module] | None = None) -> str | None:
    """Why `build(module)` may not replace module; None if both are the same in all that was tried.

    Args:
        module: left as it is, as are random generators.
        build: gives the fused module.
        channels: of the input.
        parts: what stands for children of module in the proof; their own code and numbers do not matter then.
    """
    for part in [module] if parts else module.modules():
        reason = source.objection(type(part))  # type: ignore[arg-type]  # mypy takes the class for a module
        if reason:
            return reason
    with undisturbed():
        reason = _tried(module, build, channels, parts, None if parts else NARROW)
        return reason and _tried(module, build, channels, parts, None)


def _tried(
    module: nn.Module, build: Build, channels: int, parts: dict[str, nn.Module] | None, width: int | None
) -> str | None:
    """The objection against copies cut down to `width` channels, where they are known not to ask for their number."""
    try:
        plain = clean_copy(module, parts, width)
    except Exception as error:  # of whatever hangs on a user's module
        return f"it cannot be copied: {_words(error)}"
    fused = build(copy.deepcopy(plain))
    assert fused is not None
    if _keys(plain) != _keys(fused):
        return "it has parameters or buffers of its own"
    return _difference(plain, fused, min(channels, width or channels), width is not None)


def _difference(plain: nn.Module, fused: nn.Module, channels: int, narrow: bool) -> str | None:
    expected = narrowed(_unfused(copy.deepcopy(fused)), 1)
    refused, ran = "", False
    for training, (batch, height, width), gradients in CASES:
        shape = batch, channels, height, width
        x = torch.randn(shape, dtype=torch.float64, device="cpu", generator=generator())
        before, state = _attributes(plain), random_state()
        recorder, counter = Recorder(channels_too=narrow), Recorder()
        try:
            wanted = _run(plain.train(training), x, gradients, recorder)
        except Exception as error:  # a user's code may raise anything
            refused = refused or f"it does not run alone: {_words(error)}"
            if _runs(fused.train(training), x, gradients):
                return refused
            continue
        ran = True
        if not _equal(random_state(), state):
            return "it draws random numbers"
        if not _equal(before, _attributes(plain)):
            return "it changes its attributes"
        if isinstance(wanted, str):
            return wanted
        if recorder.decides:
            return "it decides by the size of its input"
        _run(expected.train(training), x[:, :1], gradients, counter)
        if counter.calls != recorder.calls or not _agree(fused.train(training), x, gradients, wanted):
            return DIFFERENT
    return None if ran else refused


def _run(module: nn.Module, x: Tensor, gradients: bool, recorder: Any = None) -> dict[str, Tensor] | str:
    """What module makes of x, with all gradients or without any; or what it does that no fused module does.

    recorder: what is active while module runs.
    """
    watching = recorder or nullcontext()
    module.zero_grad()
    leaf = x.clone().requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        given = leaf * 1
        with watching:
            y = module(given)
        if not isinstance(y, Tensor):
            return "it gives no tensor"
        if not torch.equal(given, x):
            return "it changes its input"
        if gradients:
            seed = torch.randn(y.shape, dtype=y.dtype, device="cpu", generator=generator())
            with watching:
                y.backward(seed)
    found = {"result": y.detach(), "gradient": leaf.grad, **{name: b.clone() for name, b in module.named_buffers()}}
    found |= {f"gradient {name}": p.grad for name, p in module.named_parameters()}
    return {name: value for name, value in found.items() if value is not None}


def _runs(module: nn.Module, x: Tensor, gradients: bool) -> bool:
    try:
        _run(module, x, gradients)
    except (RuntimeError, ValueError, TypeError):
        return False
    return True


def _agree(fused: nn.Module, x: Tensor, gradients: bool, wanted: dict[str, Tensor]) -> bool:
    try:
        got = _run(fused, x, gradients)
    except (RuntimeError, ValueError, TypeError):
        return False
    return not isinstance(got, str) and got.keys() == wanted.keys() and all(_close(got[k], wanted[k]) for k in wanted)


def _close(got: Tensor, wanted: Tensor) -> bool:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    difference = (got - wanted).abs().double()
    return not difference.numel() or bool(difference.max() <= 1e-7 * wanted.abs().max().double() + 1e-8)


def _unfused(fused: nn.Module) -> nn.Module:
    """The plain module that fused stands for, without anybody else's code."""
    for name, child in fused._modules.items():
        if type(child) in WITHOUT_PARTS:
            fused._modules[name] = plain_twin(child)  # type: ignore[arg-type]
        elif isinstance(fused, Bottleneck) and not isinstance(child, nn.BatchNorm2d):
            fused._modules[name] = adopt(reference.ConvModule, child, ("conv",), bn=None, relu=False)  # type: ignore
    return plain_twin(fused)


def _keys(module: nn.Module) -> list[list[str]]:
    return [[name for name, _ in members] for members in (module.named_parameters(), module.named_buffers())]


def _attributes(module: nn.Module) -> list[Any]:
    """All that hangs on the modules and their classes, containers with what they hold; the mode is left out."""
    found: list[Any] = []
    kinds = {kind for part in module.modules() for kind in type(part).__mro__ if not source.is_known(kind)}
    for part in (*module.modules(), *sorted(kinds - {object}, key=id)):
        for name, value in vars(part).items():
            if name != "training":
                items = list(value.items()) if isinstance(value, dict) else value
                found.append((name, tuple(items) if isinstance(items, (list, set, tuple)) else items))
    return found


def _equal(a: Any, b: Any) -> bool:
    """Equal without asking tensors and other objects: they must be the same, or hold the same bits."""
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, np.ndarray) or (isinstance(a, Tensor) and a.dtype == torch.uint8):
        return type(a) is type(b) and np.array_equal(a, b)
    return a is b or (isinstance(a, (int, float, str)) and type(a) is type(b) and a == b)


def _words(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:100]}" if text else type(error).__name__
