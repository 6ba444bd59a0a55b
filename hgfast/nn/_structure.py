"""Which modules the fused operations can stand for: exactly torch's own, without hooks or another forward."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from hgfast import _checks
from hgfast.nn._contiguous import contiguous_result
from hgfast.ops._conv_checks import is_same

CALL_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
STATE_HOOKS = (
    *("_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)


def has_hooks(*modules: nn.Module) -> bool:
    """Whether anything else is called when one of the modules is: hooks, or a forward set on the instance."""
    return any(
        "forward" in vars(module) or any(_others(getattr(module, name)) for name in CALL_HOOKS) for module in modules
    )


def _others(hooks: dict[int, Any]) -> bool:
    """Whether there are hooks beside the one by which fused networks give contiguous results."""
    return bool(hooks) and any(hook is not contiguous_result for hook in hooks.values())


def is_plain_conv(module: Any) -> bool:
    """Whether a module is a torch Conv2d that hgfast computes, see `hgfast.ops._conv_checks.is_same`.

    Its weight is of the kernel's size: somebody may have put in another.
    """
    if type(module) is not nn.Conv2d or has_hooks(module):
        return False
    own = module.kernel_size, module.stride, module.padding, module.dilation, module.groups, module.padding_mode
    return module.kernel_size == module.weight.shape[2:] and is_same(*own)


def is_plain_norm(module: Any) -> bool:
    """Return whether a module is a torch BatchNorm2d, or a SyncBatchNorm."""
    return type(module) in (nn.BatchNorm2d, nn.SyncBatchNorm) and not has_hooks(module)


def are_plain(convs: Iterable[Any], norms: Iterable[Any]) -> bool:
    """Return whether all of them are what the fused operations know."""
    return all(map(is_plain_conv, convs)) and all(map(is_plain_norm, norms))


def part_at(module: nn.Module, path: str) -> nn.Module:
    """Return a part by its path.

    Raises:
        KeyError: there is none.
    """
    for name in path.split(".") if path else ():
        module = module._modules[name]  # type: ignore[assignment]
    return module


def parameters_of(*convs: Any) -> list[Tensor | None]:
    """Return weight and bias of each convolution in turn."""
    return [parameter for conv in convs for parameter in (conv.weight, conv.bias)]


def is_synchronised(norm: nn.Module) -> bool:
    """Whether a BatchNorm was told to average its statistics over processes, which only the fused operation does."""
    return bool(getattr(norm, "synchronised", False))


def refuse_plain(block: nn.Module, x: Tensor) -> None:
    """Raise if the plain modules of a block cannot stand for it, or not take x.

    Raises:
        RuntimeError: a BatchNorm synchronises its statistics, which only the fused operation makes it do.
        TypeError, ValueError: x is no dense (N, C, H, W) of floating-point numbers with channels and pixels.
    """
    _checks.activations(type(block).__name__, "x", x)
    if any(map(is_synchronised, block.modules())):
        kind = type(block).__name__
        raise RuntimeError(f"hgfast: a {kind} with hooks or changed parts cannot synchronise its BatchNorm statistics")
