"""What `fuse` tells of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.conv import _ConvNd

from hgfast.fusion.lowered import Lowered, PoolStep, ProgramStep
from hgfast.nn._structure import has_hooks, is_plain_conv


@dataclass
class FusionReport:
    """What `fuse` did, by the names of the modules.

    Attributes:
        replaced: name -> what of its forward pass runs in fused operations; for modules that were not fused before.
        left: name -> why it is as it was; each convolution that is in nothing fused is among them.
        frozen: parameters that no longer ask for a gradient because the network never runs them.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Write one line for each module."""
        lines = [f"fused {name or '(the model)'}: {what}" for name, what in self.replaced.items()]
        lines += [f"left {name or '(the model)'}: {reason}" for name, reason in self.left.items()]
        if self.frozen:
            lines.append(f"frozen, for they never run: {len(self.frozen)} parameters ({self.frozen[0]}, ...)")
        return "\n".join(lines)


def contents(ways: Sequence[Lowered]) -> str:
    """Return what runs in the fused operations of a module: "2 operations: 3 convolutions, 3 BatchNorms"."""
    modes = {True: "in training ", False: "in evaluation ", None: ""}
    texts = {modes[lowered.training]: _contents(lowered) for lowered in ways}
    alike = len(ways) > 1 and len(set(texts.values())) == 1
    return next(iter(texts.values())) if alike else "; ".join(f"{mode}{text}" for mode, text in texts.items())


def _contents(lowered: Lowered) -> str:
    steps = [step for step in lowered.steps if isinstance(step, ProgramStep)]
    pools = sum(isinstance(step, PoolStep) for step in lowered.steps)
    counts = {
        "convolution": sum(len(step.convolutions) for step in steps),
        "BatchNorm": sum(len(step.norms) for step in steps),
        "merge": sum(type(stage).__name__ == "Merge" for step in steps for stage in step.program.stages),
        "pooling": pools,
    }
    parts = (_counted(count, name) for name, count in counts.items() if count)
    return f"{_counted(len(steps) + pools, 'operation')}: {', '.join(parts)}"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'s' if count > 1 else ''}"


def list_convolutions(model: nn.Module, report: FusionReport, fused: set[str], reasons: dict[str, str]) -> None:
    """Put every convolution that is in nothing fused into report.left.

    Args:
        model: the network.
        report: has the modules that are left already.
        fused: names of the convolutions that run in fused operations.
        reasons: by name, why modules around convolutions are left as they are.
    """
    for name, module in model.named_modules():
        if isinstance(module, _ConvNd) and name not in fused:
            report.left.setdefault(name, _reason(name, module, reasons))


def _reason(name: str, module: nn.Module, reasons: dict[str, str]) -> str:
    if type(module) is not nn.Conv2d:
        return f"a {type(module).__name__} has no fused form"
    if has_hooks(module):
        return "hooks are registered on it, or a forward is set on it"
    if not is_plain_conv(module):
        return "no plain Conv2d with same padding"
    if not name:
        return "a single layer has no forward pass to be fused"
    around = name
    while around:
        around = around.rpartition(".")[0]
        if around in reasons:
            return f"part of {around or 'the model'}: {reasons[around]}"
    return "the network's forward does not call it"
