"""fuse and unfuse."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from torch import nn

from hgfast import reference
from hgfast.fusion.adopt import adopt, original
from hgfast.fusion.check import same_result
from hgfast.fusion.match import BLOCKS, HOURGLASSES, SEQUENCES, LeftAlone, Matcher
from hgfast.nn import BasicBlock, Bottleneck, ConvModule, UpsampleAdd
from hgfast.nn.pool import MaxPool
from hgfast.nn.sequential import FusedSequential

log = logging.getLogger("hgfast")
REFERENCES: dict[type, type] = {
    BasicBlock: reference.BasicBlock,
    Bottleneck: reference.Bottleneck,
    ConvModule: reference.ConvModule,
}
WITHOUT_PARTS: dict[type, type] = {UpsampleAdd: reference.UpsampleAdd, MaxPool: reference.MaxPool}
BLOCK_TYPES = (*REFERENCES, *WITHOUT_PARTS)
FUSED = (*BLOCK_TYPES, FusedSequential)
FLAGS = ("relu", "need_skip", "bn", "downsample")  # what constructors set; the latter two where they are None


@dataclass
class FusionReport:
    """What `fuse` did, by the names of the modules.

    Attributes:
        replaced: name -> what it was recognised as.
        left: name -> why it is as it was.
        frozen: parameters that no longer ask for a gradient because the network never runs them.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line for each module."""
        lines = [f"fused {name or '(the model)'}: {kind}" for name, kind in self.replaced.items()]
        lines += [f"left {name or '(the model)'}: {reason}" for name, reason in self.left.items()]
        if self.frozen:
            lines.append(f"frozen, for they never run: {len(self.frozen)} parameters ({self.frozen[0]}, ...)")
        return "\n".join(lines)


def fuse(model: nn.Module, *, recompute: bool = False) -> nn.Module:
    """Replace the residual blocks, hourglasses and conv-BatchNorm-ReLU groups of a network by fused modules, in place.

    Blocks are recognised by structure, whosever classes they are (MMPose's HourglassNet, princeton-vl's PoseNet,
    hgfast's reference models, and networks of such blocks), and replaced only if the fused module gives the same for a
    random input. Parameters and buffers stay the same objects, so that an optimizer made before goes on working;
    state-dict keys, training mode, requires_grad, device, dtype and memory format stay as they are. A second call
    replaces nothing. Blocks with hooks are left alone. Weights that the network never runs (an unused `skip_layer`, a
    last `inters`) stop asking for a gradient: under DistributedDataParallel they would break the second step.

    Args:
        model: the network, which is changed.
        recompute: keep as little as possible for the gradient: what BatchNorm, ReLU and merges made is computed again
            from the outputs of the convolutions. A few percent slower.

    Returns:
        The model, or its replacement if it is itself a block. Its attribute `fusion` is a :class:`FusionReport`.

    Raises:
        TypeError: model is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fuse: model must be a torch.nn.Module, got {type(model).__name__}")
    report = FusionReport(frozen=list(getattr(model, "fusion", FusionReport()).frozen))
    model = _Fuser(report).visit(model, "")
    for module in model.modules():
        if isinstance(module, FUSED):
            module.recompute = recompute  # type: ignore[assignment]
    freeze_unused(model, report)
    log.info("fuse:\n%s", report)
    model.fusion = report  # type: ignore[assignment]
    return model


class _Fuser:
    """Replaces blocks, then what contains them; each module object once."""

    def __init__(self, report: FusionReport) -> None:
        self.report = report
        self.done: dict[nn.Module, nn.Module] = {}

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
            if child is not None:
                module._modules[key] = self.visit(child, f"{name}.{key}".removeprefix("."))
        if type(module) is nn.Conv2d:
            self.report.left[name] = "a convolution without BatchNorm"
        return self._match(HOURGLASSES, module, name) or self._match(SEQUENCES, module, name) or module

    def _match(self, matchers: dict[str, Matcher], module: nn.Module, name: str) -> nn.Module | None:
        for kind, matcher in matchers.items():
            try:
                fused = matcher(module)
                if fused is not None and matchers is not SEQUENCES and not same_result(module, fused):
                    raise LeftAlone("it does not compute what its structure suggests")
            except LeftAlone as reason:
                self.report.left[name] = f"{kind}: {reason}"
                return None
            if fused is not None:
                self.report.replaced[name] = kind
                return fused
        return None


def freeze_unused(model: nn.Module, report: FusionReport) -> None:
    """Weights that exist for the checkpoint only ask for no gradient: no forward pass reads them."""
    for name, module in model.named_modules():
        idle: list[tuple[str, nn.Module]] = []
        if isinstance(module, Bottleneck) and not module.need_skip:
            idle = [("skip_layer", module.skip_layer)]
        elif all(hasattr(module, part) for part in ("hourglass_modules", "inters", "conv1x1s")):
            used = len(module.conv1x1s)  # type: ignore[arg-type]
            idle = [(f"inters.{i}", block) for i, block in enumerate(module.inters) if i >= used]  # type: ignore
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
    report = model.__dict__.pop("fusion", None)
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
        done[module] = original(module) or _reference(module)
    return done[module]


def _reference(module: nn.Module) -> nn.Module:
    """The plain twin of a module that was fused from the start."""
    kind = type(module)
    if kind in WITHOUT_PARTS:
        return WITHOUT_PARTS[kind]()
    if kind in REFERENCES:
        flags = {name: getattr(module, name) for name in FLAGS if name in module.__dict__}
        return adopt(REFERENCES[kind], module, module._modules, **flags)
    return module
