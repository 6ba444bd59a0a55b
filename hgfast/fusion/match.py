"""Finds the blocks of hourglasses by their structure, whosever classes they are.

A matcher gives the fused module that stands for a module, None if the module is nothing of its kind, or raises
:class:`LeftAlone` with the reason why it is of its kind but cannot be replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn

from hgfast import reference
from hgfast.fusion.adopt import replacement
from hgfast.fusion.branches import leaves_input, stand_in
from hgfast.nn import BasicBlock, Bottleneck, ConvModule, HourglassModule, NewellHourglass, UpsampleAdd
from hgfast.nn._structure import STATE_HOOKS, are_plain, conv_and_norm, has_hooks
from hgfast.nn.pool import MaxPool
from hgfast.nn.sequential import FusedSequential, has_groups

BRANCHES = ("up1", "low1", "low2", "low3")
UPSAMPLINGS = (nn.Upsample, nn.UpsamplingNearest2d)


class LeftAlone(Exception):
    """Why a module that looks like a block is not replaced."""


def children(module: nn.Module) -> dict[str, nn.Module | None]:
    """Children that compute something: not the identities."""
    return {name: child for name, child in module._modules.items() if not isinstance(child, nn.Identity)}


def only(module: nn.Module, *names: str) -> None:
    """Raise LeftAlone if the module has other children than these (each may be missing)."""
    extra = sorted(set(children(module)) - set(names))
    if extra:
        raise LeftAlone(f"it has further parts: {', '.join(extra)}")


def plain(convs: list[Any], norms: list[Any], module: nn.Module) -> None:
    """Raise LeftAlone unless these are torch's modules as the kernels know them, and no hooks are in module."""
    unhooked(module)
    if not are_plain(convs, norms):
        raise LeftAlone("a part is no plain Conv2d with same padding, or no BatchNorm2d")


def unhooked(module: nn.Module, parts: Iterable[nn.Module] | None = None) -> None:
    """Raise LeftAlone if anything else is called with the module or its parts (all of them, if none are given)."""
    if any(getattr(module, name) for name in STATE_HOOKS):
        raise LeftAlone("hooks for its state dict are registered on it")
    if has_hooks(module, *(module.modules() if parts is None else parts)):
        raise LeftAlone("hooks are registered on it or its parts, or a forward is set on an instance")


def rectifier(module: Any) -> bool | None:
    """True for ReLU, False for nothing, None for any other activation."""
    if module is None or module is False:
        return False
    return True if module is True or type(module) is nn.ReLU else None


def basic_block(module: nn.Module) -> nn.Module | None:
    """conv1, bn1, conv2, bn2, downsample: torchvision's and MMPose's BasicBlock."""
    parts = children(module)
    if not {"conv1", "bn1", "conv2", "bn2"} <= set(parts) or "conv3" in parts or not hasattr(module, "downsample"):
        return None
    only(module, "conv1", "bn1", "relu", "conv2", "bn2", "downsample")
    if rectifier(getattr(module, "relu", True)) is not True:
        raise LeftAlone("its activation is no ReLU")
    if getattr(module, "with_cp", False):
        raise LeftAlone("it uses torch.utils.checkpoint (with_cp)")
    convs, norms, shortcut = [parts["conv1"], parts["conv2"]], [parts["bn1"], parts["bn2"]], module.downsample
    pair = None if shortcut is None else conv_and_norm(shortcut)  # type: ignore[arg-type]
    if shortcut is not None and pair is None:
        raise LeftAlone("its shortcut is not a convolution with BatchNorm")
    extra = ([pair[0]], [pair[1]]) if pair else ([], [])
    plain([*convs, *extra[0]], [*norms, *extra[1]], module)
    return replacement(
        BasicBlock, module, ("conv1", "bn1", "conv2", "bn2", "downsample"), **_absent(module, "downsample")
    )


def bottleneck(module: nn.Module) -> nn.Module | None:
    """bn1, conv1, bn2, conv2, bn3, conv3, skip_layer: princeton-vl's Residual."""
    names = ("bn1", "conv1", "bn2", "conv2", "bn3", "conv3", "skip_layer")
    parts = children(module)
    if not set(names) <= set(parts) or not hasattr(module, "need_skip"):
        return None
    only(module, *names, "relu")
    if rectifier(getattr(module, "relu", True)) is not True:
        raise LeftAlone("its activation is no ReLU")
    wrapped: list[Any] = [parts[name] for name in ("conv1", "conv2", "conv3", "skip_layer")]
    if not all(map(bare, wrapped)):
        raise LeftAlone("one of its convolutions has a BatchNorm or activation of its own")
    plain([c.conv for c in wrapped], [parts["bn1"], parts["bn2"], parts["bn3"]], module)
    return replacement(Bottleneck, module, names, need_skip=bool(module.need_skip))


def bare(wrapped: Any) -> bool:
    """Whether a module is nothing but its convolution."""
    extra = getattr(wrapped, "bn", None) is not None or rectifier(getattr(wrapped, "relu", None))
    return hasattr(wrapped, "conv") and not extra


def conv_module(module: nn.Module) -> nn.Module | None:
    """conv, bn, relu or activate: mmcv's ConvModule, princeton-vl's Conv."""
    parts = children(module)
    if "conv" not in parts or not (hasattr(module, "relu") or hasattr(module, "with_activation")):
        return None
    only(module, "conv", "bn", "relu", "activate")
    if tuple(getattr(module, "order", ("conv", "norm", "act"))) != ("conv", "norm", "act"):
        raise LeftAlone(f"its order is {module.order}")
    if hasattr(module, "with_activation"):
        relu = rectifier(getattr(module, "activate", None) if module.with_activation else None)
    else:
        relu = rectifier(module.relu)
    norm = parts.get("bn")
    if relu is None:
        raise LeftAlone("its activation is no ReLU")
    if relu and norm is None:
        raise LeftAlone("it has a ReLU but no BatchNorm")
    plain([parts["conv"]], [] if norm is None else [norm], module)
    return replacement(ConvModule, module, ("conv", "bn"), relu=relu, **_absent(module, "bn"))


def hourglass(module: nn.Module, exact: bool) -> nn.Module | None:
    """up1, low1, low2, low3 with a 2x up-sampling: MMPose's HourglassModule, princeton-vl's Hourglass.

    exact: the up-sampling doubles the size, whatever that of up1 is.
    """
    parts = children(module)
    if any(parts.get(name) is None for name in BRANCHES) or "merge" in parts:
        return None
    only(module, *BRANCHES, "pool1", "up2")
    up = parts.get("up2")
    if up is not None and (type(up) not in UPSAMPLINGS or up.mode != "nearest" or up.scale_factor not in (2, (2, 2))):
        raise LeftAlone("it does not up-sample by repeating each pixel 2x2")
    unhooked(module, [part for part in (parts.get("pool1"), up) if part is not None])
    changing = [name for name in ("up1", "low1") if not leaves_input(parts[name])]
    if changing:
        raise LeftAlone(f"its part {changing[0]} may change its input")
    merge = UpsampleAdd(exact=exact)
    if "pool1" not in parts:
        return replacement(HourglassModule, module, BRANCHES, merge=merge)
    pool = parts["pool1"]
    if type(pool) is not nn.MaxPool2d or _pairs(pool) != ((2, 2), (2, 2), (0, 0), (1, 1)) or pool.ceil_mode:
        raise LeftAlone("its pooling is not 2x2 with stride 2")
    return replacement(NewellHourglass, module, BRANCHES, merge=merge, pool=MaxPool())


def stand_ins(module: nn.Module) -> dict[str, nn.Module]:
    """Small modules in place of an hourglass's branches, of classes derived from theirs, to see what it does itself."""
    strides = {name: 2 if name == "low1" and "pool1" not in children(module) else 1 for name in BRANCHES}
    return {name: stand_in(module._modules[name], stride) for name, stride in strides.items()}


def _pairs(pool: nn.MaxPool2d) -> tuple[Any, ...]:
    sizes = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return tuple(size if isinstance(size, tuple) else (size, size) for size in sizes)


def merge(module: nn.Module) -> nn.Module | None:
    """The merge of hgfast's reference networks."""
    return UpsampleAdd() if type(module) is reference.UpsampleAdd and not has_hooks(module) else None


def pool(module: nn.Module) -> nn.Module | None:
    """The pooling of hgfast's reference networks."""
    return MaxPool() if type(module) is reference.MaxPool and not has_hooks(module) else None


def sequential(module: nn.Module) -> nn.Module | None:
    """A Sequential in which convolution, BatchNorm and ReLU follow each other."""
    if type(module) is not nn.Sequential or not has_groups(module):
        return None
    if has_hooks(module):
        raise LeftAlone("hooks are registered on it, or a forward is set on it")
    return replacement(FusedSequential, module, module._modules)


def input_channels(block: nn.Module) -> int:
    """Channels of a fused block's input; those without parameters take any."""
    if isinstance(block, Bottleneck):
        return block.bn1.num_features
    if isinstance(block, BasicBlock):
        return block.conv1.in_channels
    return block.conv.in_channels if isinstance(block, ConvModule) else 4


def _absent(module: nn.Module, name: str) -> dict[str, None]:
    """A child that kind's forward reads and module does not have."""
    return {} if name in module._modules else {name: None}


Matcher = Callable[[nn.Module], nn.Module | None]
BLOCKS: dict[str, Matcher] = {  # modules that are replaced with all that is in them
    "basic block": basic_block,
    "pre-activation bottleneck": bottleneck,
    "convolution, BatchNorm, ReLU": conv_module,
}
HOURGLASSES: dict[str, Matcher] = {  # what is in them is replaced first
    "hourglass": partial(hourglass, exact=True),
    "hourglass of any size": partial(hourglass, exact=False),
}
EXACT: dict[str, Matcher] = {  # known by their very classes; what is in them is replaced first
    "sequence": sequential,
    "merge": merge,
    "pooling": pool,
}
