"""fuse and unfuse."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sized

import torch
from torch import nn

from hgfast import _checks
from hgfast.fusion.classes import Ways, is_fused, put, take_out, ways_of
from hgfast.fusion.layout import drop_layouts, keep_layouts
from hgfast.fusion.lowered import Lowered, ProgramStep
from hgfast.fusion.lowering import Lowering
from hgfast.fusion.proof import Prover
from hgfast.fusion.report import FusionReport, contents, list_convolutions
from hgfast.fusion.twins import REFERENCES, WITHOUT_PARTS, plain_twin
from hgfast.graph.capture import DIFFERENT_WAYS, capture
from hgfast.graph.captured import CapturedGraph
from hgfast.nn import Bottleneck
from hgfast.nn._contiguous import in_channels_last

log = logging.getLogger("hgfast")
OWN_BLOCKS = (*REFERENCES, *WITHOUT_PARTS)
OF_STACKS = ("hourglass_modules", "conv1x1s", "remap_convs", "inters")  # of MMPose's networks
REPORT = "_fusion_report"


def fuse(model: nn.Module, *, recompute: bool = False) -> nn.Module:
    """Run the convolutions, BatchNorms, ReLUs, residual sums and merges of a network in fused operations, in place.

    What the network computes is captured as a graph (`hgfast.graph`), whatever classes it is made of, and the forward
    passes of its modules become steps: fused operations where kernels take what is computed, torch's calls for all
    else. Modules stay the same objects of the same classes (each fused one of a class derived from its own), as do
    parameters and buffers, so that an optimizer made before goes on working; state-dict keys, training mode,
    requires_grad, device, dtype and memory formats stay as they are. Blocks are tried on copies with random numbers, in
    training and evaluation, and left alone where results, gradients or statistics differ. A module whose parts, hooks
    or attributes change later, or that is called with other arguments than at the capture, runs its own code. A second
    call fuses what has been added. Weights that the network never runs (an unused `skip_layer`, the `inters` of one
    stack) stop asking for a gradient: under DistributedDataParallel they would break the second step.

    Args:
        model: the network, which is changed.
        recompute: keep as little as possible for the gradient: what BatchNorm, ReLU and merges made is computed again
            from the outputs of the convolutions. A few percent slower. Without it maps of at most 4 MiB are kept on
            CUDA, where launching what computes one again takes longer than reading it.

    Returns:
        The model. Its attribute `fusion` is a :class:`FusionReport`, unless the model has something else of that name.

    Raises:
        TypeError: model is no module or a scripted one, or recompute no bool.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fuse: model must be a torch.nn.Module, got {type(model).__name__}")
    _checks.flag("fuse", "recompute", recompute)
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("fuse: model must be a torch.nn.Module that is not scripted or traced: fuse it before that")
    report = FusionReport(frozen=list(getattr(vars(model).get(REPORT), "frozen", ())))
    before = {name for name, module in model.named_modules() if is_fused(module)}
    for module in model.modules():
        take_out(module)
    lowered = _lower(model, report)
    for name, ways in lowered.items():
        for way in ways:
            way.recompute = recompute
        put(model.get_submodule(name), *ways)
        if name not in before:
            report.replaced[name] = contents(ways)
    own = [module for module in model.modules() if isinstance(module, OWN_BLOCKS)]
    for module in own:
        module.recompute = recompute  # type: ignore[assignment]
    freeze_unused(model, report)
    if lowered and not own and not in_channels_last(model):
        keep_layouts(model)
    log.info("fuse:\n%s", report)
    vars(model)[REPORT] = report
    if not hasattr(model, "fusion") or isinstance(model.fusion, FusionReport):
        model.fusion = report  # type: ignore[assignment]
    return model


def _lower(model: nn.Module, report: FusionReport) -> dict[str, Ways]:
    """Return the forward passes of all modules that are worth it; the report tells of all others."""
    own = {name for name, module in model.named_modules() if isinstance(module, OWN_BLOCKS)}
    prover, graph = Prover(), capture(model)
    lowered, reasons = _lowered(model, graph, own, prover)
    found: dict[str, Ways] = {name: (steps,) for name, steps in lowered.items()}
    stops = (stop.reason for _, part in _graphs(graph, "") for stop in part.stops.values())
    for training in (True, False) if DIFFERENT_WAYS in stops else ():
        steps_of, left = _lowered(model, capture(model, training=training), own, prover)
        found |= {name: (*found.get(name, ()), steps) for name, steps in steps_of.items() if name not in lowered}
        reasons |= left
    report.left |= {name: reason for name, reason in reasons.items() if name not in found}
    fused = {f"{name}.{conv}".removeprefix(".") for name, ways in found.items() for conv in _convolutions(ways)}
    fused |= {name for name, _ in model.named_modules() if any(name.startswith(f"{block}.") for block in own)}
    list_convolutions(model, report, fused, reasons)
    return found


def _lowered(
    model: nn.Module, captured: CapturedGraph, own: set[str], prover: Prover
) -> tuple[dict[str, Lowered], dict[str, str]]:
    """Lower a graph of the model: the forward passes, and why other modules are left; own: hgfast's blocks."""
    found: dict[str, Lowered] = {}
    reasons: dict[str, str] = {}
    for path, graph in _graphs(captured, ""):
        module, fixed = model.get_submodule(path), {_below(path, name) for name in own}
        reasons |= {f"{path}.{name}".strip("."): str(stop) for name, stop in graph.stops.items()}
        lowering = Lowering(module, graph, bool(own) or in_channels_last(model), fixed)
        for name, lowered in lowering.modules():
            reason = prover.objection(module.get_submodule(name), lowered)
            if reason:
                lowering.left[name] = reason
            else:
                found[f"{path}.{name}".strip(".")] = lowered
        reasons |= {f"{path}.{name}".strip("."): reason for name, reason in lowering.left.items()}
    return found, reasons


def _graphs(graph: CapturedGraph, path: str) -> Iterator[tuple[str, CapturedGraph]]:
    """Yield a graph and those of the parts in it that could be captured, with their paths."""
    yield path, graph
    for name, part in graph.parts.items():
        yield from _graphs(part, f"{path}.{name}".removeprefix("."))


def _below(path: str, name: str) -> str:
    return name.removeprefix(f"{path}.") if path else name


def _convolutions(ways: Ways) -> Iterator[str]:
    for lowered in ways:
        for step in lowered.steps:
            if isinstance(step, ProgramStep):
                yield from step.convolutions


def freeze_unused(model: nn.Module, report: FusionReport) -> None:
    """Ask for no gradient of weights that exist for the checkpoint only: no forward pass reads them."""
    for name, module in model.named_modules():
        idle: list[tuple[str, nn.Module]] = []
        skip = getattr(module, "skip_layer", None)
        if isinstance(skip, nn.Module) and getattr(module, "need_skip", True) is False and _leaves(module, skip):
            idle = [("skip_layer", skip)]
        elif all(isinstance(getattr(module, part, None), Sized) for part in OF_STACKS):
            stacks, *between, _ = (len(getattr(module, part)) for part in OF_STACKS)
            idle = [("inters", module.inters)] if stacks == 1 and not any(between) else []  # type: ignore[list-item]
        for part, unused in idle:
            for key, parameter in unused.named_parameters():
                if parameter.requires_grad:
                    parameter.requires_grad_(False)
                    report.frozen.append(f"{name}.{part}.{key}".removeprefix("."))


def _leaves(block: nn.Module, part: nn.Module) -> bool:
    """Whether a fused block never runs one of its parts."""
    if isinstance(block, Bottleneck):
        return True
    if not is_fused(block) or {way.training for way in ways_of(block)} not in ({None}, {True, False}):
        return False
    mine = set(part.modules())
    return mine.isdisjoint(block.get_submodule(path) for path in _convolutions(ways_of(block)))


def unfuse(model: nn.Module) -> nn.Module:
    """Give the modules of a fused network their own forward passes back, in place; hgfast's blocks become plain ones.

    Parameters and buffers stay the same objects, with the values they have now.

    Args:
        model: the network, which is changed.

    Returns:
        The model, or its replacement if it is itself one of hgfast's blocks.

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
        take_out(module)
        done[module] = plain_twin(module)
    return done[module]
