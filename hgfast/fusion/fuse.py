"""fuse and unfuse."""

from __future__ import annotations

import logging
from collections.abc import Sized
from typing import Any

import torch
from torch import nn

from hgfast import _checks
from hgfast.fusion.adopt import original
from hgfast.fusion.check import objection
from hgfast.fusion.layout import drop_layouts, keep_layouts
from hgfast.fusion.match import BLOCKS, EXACT, HOURGLASSES, LeftAlone, Matcher, input_channels, stand_ins
from hgfast.fusion.report import FusionReport, list_convolutions
from hgfast.fusion.structure import structure
from hgfast.fusion.twins import REFERENCES, WITHOUT_PARTS, plain_twin
from hgfast.nn import Bottleneck
from hgfast.nn.sequential import FusedSequential

log = logging.getLogger("hgfast")
OWN = tuple(REFERENCES.values())  # nothing to prove
BLOCK_TYPES = (*REFERENCES, *WITHOUT_PARTS)
OF_STACKS = ("hourglass_modules", "conv1x1s", "remap_convs", "inters")  # of MMPose's networks
REPORT = "_fusion_report"
FUSED = (*BLOCK_TYPES, FusedSequential)


def fuse(model: nn.Module, *, recompute: bool = False) -> nn.Module:
    """Replace the residual blocks, hourglasses and conv-BatchNorm-ReLU groups of a network by fused modules, in place.

    Blocks are recognised by structure, whosever classes they are (MMPose's HourglassNet, princeton-vl's PoseNet,
    hgfast's reference models, and networks of such blocks), and replaced only if copies with random numbers compute the
    same by the same functions of torch, in training and evaluation, with the same gradients and statistics; settings of
    the blocks count as they are now. Parameters and buffers stay the same objects, so that an optimizer made before
    goes on working; state-dict keys, training mode, requires_grad, device, dtype and memory formats stay as they are. A
    second call replaces nothing. Blocks with hooks are left alone. Weights that the network never runs (an unused
    `skip_layer`, the `inters` of one stack) stop asking for a gradient: under DistributedDataParallel they would break
    the second step.

    Args:
        model: the network, which is changed.
        recompute: keep as little as possible for the gradient: what BatchNorm, ReLU and merges made is computed again
            from the outputs of the convolutions. A few percent slower.

    Returns:
        The model, or its replacement if it is itself a block. Its attribute `fusion` is a :class:`FusionReport`, unless
        the model has something else of that name.

    Raises:
        TypeError: model is no module or a scripted one, or recompute no bool.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fuse: model must be a torch.nn.Module, got {type(model).__name__}")
    _checks.flag("fuse", "recompute", recompute)
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("fuse: model must be a torch.nn.Module that is not scripted or traced: fuse it before that")
    report = FusionReport(frozen=list(getattr(vars(model).get(REPORT), "frozen", ())))
    fuser = _Fuser(report)
    model = fuser.visit(model, "")
    list_convolutions(model, report, BLOCK_TYPES, fuser.refused)
    for module in model.modules():
        if isinstance(module, FUSED):
            module.recompute = recompute  # type: ignore[assignment]
    freeze_unused(model, report)
    if report.replaced:
        keep_layouts(model, FUSED)
    log.info("fuse:\n%s", report)
    vars(model)[REPORT] = report
    if not hasattr(model, "fusion") or isinstance(model.fusion, FusionReport):
        model.fusion = report  # type: ignore[assignment]
    return model


class _Fuser:
    """Replaces blocks, then what contains them; each module object once."""

    def __init__(self, report: FusionReport) -> None:
        self.report = report
        self.done: dict[nn.Module, nn.Module] = {}
        self.refused: set[str] = set()  # names of blocks and sequences that are left alone
        self.proved: dict[tuple[str, Any], str | None] = {}

    def visit(self, module: nn.Module, name: str) -> nn.Module:
        """The module, or what replaces it."""
        if module not in self.done:
            self.done[module] = module if isinstance(module, BLOCK_TYPES) else self._replace(module, name)
        return self.done[module]

    def _replace(self, module: nn.Module, name: str) -> nn.Module:
        block = self._match(BLOCKS, module, name)
        if block is not None:
            return block
        for key, child in module._modules.items():
            if child is not None and not isinstance(child, torch.jit.ScriptModule):
                module._modules[key] = self.visit(child, f"{name}.{key}".removeprefix("."))
        return self._match(HOURGLASSES, module, name) or self._match(EXACT, module, name) or module

    def _match(self, matchers: dict[str, Matcher], module: nn.Module, name: str) -> nn.Module | None:
        reasons = []
        for kind, matcher in matchers.items():
            try:
                fused = _matched(matcher, module)
                if fused is not None and matchers is not EXACT:
                    self._prove(kind, matcher, module, fused)
            except LeftAlone as reason:
                reasons.append(f"{kind}: {reason}")
                continue
            if fused is not None:
                self.report.replaced[name] = kind
                return fused
        if reasons:
            self.report.left[name] = reasons[0]
            if matchers is not HOURGLASSES:
                self.refused.add(name)
        return None

    def _prove(self, kind: str, matcher: Matcher, module: nn.Module, fused: nn.Module) -> None:
        """Raise LeftAlone unless fused is the same as module; modules of one structure are tried once."""
        if type(module) in OWN:
            return
        parts = stand_ins(module) if kind in HOURGLASSES else None
        key = structure(module, parts)
        if key is None or (kind, key) not in self.proved:
            self.proved[kind, key] = objection(module, matcher, 4 if parts else input_channels(fused), parts)
        reason = self.proved[kind, key]
        if reason:
            raise LeftAlone(reason)


def _matched(matcher: Matcher, module: nn.Module) -> nn.Module | None:
    try:
        return matcher(module)
    except LeftAlone:
        raise
    except Exception as error:  # properties of a user's module may raise anything
        raise LeftAlone(f"its attributes cannot be read: {type(error).__name__}") from None


def freeze_unused(model: nn.Module, report: FusionReport) -> None:
    """Weights that exist for the checkpoint only ask for no gradient: no forward pass reads them."""
    for name, module in model.named_modules():
        idle: list[tuple[str, nn.Module]] = []
        if isinstance(module, Bottleneck) and not module.need_skip:
            idle = [("skip_layer", module.skip_layer)]
        elif all(isinstance(getattr(module, part, None), Sized) for part in OF_STACKS):
            stacks, *between, _ = (len(getattr(module, part)) for part in OF_STACKS)
            idle = [("inters", module.inters)] if stacks == 1 and not any(between) else []  # type: ignore[list-item]
        for part, unused in idle:
            for key, parameter in unused.named_parameters():
                if parameter.requires_grad:
                    parameter.requires_grad_(False)
                    report.frozen.append(f"{name}.{part}.{key}".removeprefix("."))


def unfuse(model: nn.Module) -> nn.Module:
    """Take fused modules out again: the modules that `fuse` replaced, or hgfast's reference modules, in place.

    Parameters and buffers stay the same objects, with the values they have now.

    Args:
        model: the network, which is changed.

    Returns:
        The model, or its replacement if it is itself a block.

    Raises:
        TypeError: model is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"unfuse: model must be a torch.nn.Module, got {type(model).__name__}")
    report = vars(model).pop(REPORT, None)
    if isinstance(vars(model).get("fusion"), FusionReport):
        del model.fusion
    model = _plain(model, {})
    if report is not None:
        parameters = dict(model.named_parameters())
        for name in report.frozen:
            parameters[name].requires_grad_(True)
    return model


def _plain(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if module not in done:
        for key, child in module._modules.items():
            if child is not None:
                module._modules[key] = _plain(child, done)
        drop_layouts(module)
        done[module] = original(module) or plain_twin(module)
    return done[module]
