"""What `fuse` tells of a network."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from hgfast.nn._structure import has_hooks, is_plain_conv
from hgfast.nn.sequential import FusedSequential, in_groups


@dataclass
class FusionReport:
    """What `fuse` did, by the names of the modules.

    Attributes:
        replaced: name -> what it was recognised as.
        left: name -> why it is as it was; each convolution that is in nothing fused is among them.
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


def list_convolutions(model: nn.Module, report: FusionReport, blocks: tuple[type, ...], refused: set[str]) -> None:
    """Put every convolution that is in nothing fused into report.left.

    Args:
        blocks: classes of fused modules that run all that is in them.
        refused: names of blocks and sequences that were left alone.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    fused: set[nn.Module] = set()
    for module in modules.values():
        if isinstance(module, FusedSequential):
            fused |= in_groups(module)
        elif isinstance(module, blocks):
            fused.update(module.modules())  # type: ignore[attr-defined]
    for name, module in modules.items():
        if isinstance(module, _ConvNd) and module not in fused and name not in report.left:
            report.left[name] = _reason(name, modules, refused)


def _reason(name: str, modules: dict[str, nn.Module], refused: set[str]) -> str:
    around = name
    while around:
        around = around.rpartition(".")[0]
        if around in refused:
            return f"part of {around or 'the model'}, which is left as it is"
    module, parent = modules[name], modules[name.rpartition(".")[0]]
    if type(module) is not nn.Conv2d:
        return f"a {type(module).__name__} has no fused form"
    if has_hooks(module):
        return "hooks are registered on it, or a forward is set on it"
    siblings = list(parent.children())
    norms = siblings if not isinstance(parent, nn.Sequential) else siblings[siblings.index(module) + 1 :][:1]
    if module is parent or not any(isinstance(sibling, _BatchNorm) for sibling in norms):
        return "a convolution without BatchNorm"
    if type(parent) not in (nn.Sequential, FusedSequential):
        return f"part of a {type(parent).__name__}, which is none of the known blocks"
    return "its BatchNorm is no plain BatchNorm2d" if is_plain_conv(module) else "no plain Conv2d with same padding"
