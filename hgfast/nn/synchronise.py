"""Statistics over several processes for fused networks."""

from __future__ import annotations

from typing import Any

from torch import nn

from hgfast import _checks
from hgfast.nn.batch_norm_act import BatchNormAct
from hgfast.nn.blocks import BasicBlock, Bottleneck, ConvModule

__all__ = ["convert_sync_batchnorm"]

BLOCKS = (BasicBlock, Bottleneck, ConvModule, BatchNormAct)


def convert_sync_batchnorm(model: nn.Module, process_group: Any = None) -> nn.Module:
    """Make every BatchNorm of a model average its statistics over the processes of a group.

    Where ``torch.nn.SyncBatchNorm.convert_sync_batchnorm`` puts modules that work on GPUs only, the BatchNorms of fused
    blocks, and :class:`BatchNormAct`, stay what they are and synchronise on the CPU (gloo), too. Other BatchNorms
    become ``torch.nn.SyncBatchNorm``. Fused blocks also take SyncBatchNorms that torch's function has put there.

    Args:
        model: changed in place.
        process_group: the processes; None stands for all.

    Returns:
        The model, or its replacement if it is itself a BatchNorm.

    Raises:
        TypeError: model is no module.
    """
    _checks.instance("convert_sync_batchnorm", "model", model, nn.Module)
    return _converted(model, _in_operations(model), process_group)


def _in_operations(model: nn.Module) -> set[nn.Module]:
    """Return the BatchNorms that run in fused operations, of hgfast's blocks and of modules that `fuse` has lowered."""
    found: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, BLOCKS):
            found.update(part for part in module.modules() if isinstance(part, (nn.BatchNorm2d, BatchNormAct)))
        for way in vars(module).get("_hgfast_lowered", ()):
            if way.training is not False:  # statistics are of the batch in training alone
                found.update(module.get_submodule(path) for path in way.norms)
        for name in getattr(vars(module).get("_fusion_report"), "frozen", ()):  # they never run
            found.add(module.get_submodule(name.rpartition(".")[0]))
    return found


def _converted(model: nn.Module, fused: set[nn.Module], process_group: Any) -> nn.Module:
    if model in fused:
        model.synchronised, model.process_group = True, process_group  # type: ignore[assignment]
        return model
    if isinstance(model, nn.modules.batchnorm._BatchNorm):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model, process_group)
    for name, child in model._modules.items():
        if child is not None:
            model._modules[name] = _converted(child, fused, process_group)
    return model
