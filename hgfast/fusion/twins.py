"""The plain twins of fused modules, in hgfast.reference."""

from __future__ import annotations

from torch import nn

from hgfast import reference
from hgfast.fusion.adopt import adopt
from hgfast.nn import BasicBlock, Bottleneck, ConvModule, UpsampleAdd
from hgfast.nn.pool import MaxPool

REFERENCES: dict[type, type] = {
    BasicBlock: reference.BasicBlock,
    Bottleneck: reference.Bottleneck,
    ConvModule: reference.ConvModule,
}
WITHOUT_PARTS: dict[type, type] = {UpsampleAdd: reference.UpsampleAdd, MaxPool: reference.MaxPool}
FLAGS = ("relu", "need_skip", "bn", "downsample")  # what constructors set; the latter two where they are None


def plain_twin(module: nn.Module) -> nn.Module:
    """Return the plain module that computes what a fused one does, with its children; any other module itself."""
    kind = type(module)
    if kind in WITHOUT_PARTS:
        return WITHOUT_PARTS[kind]()
    if kind in REFERENCES:
        flags = {name: getattr(module, name) for name in FLAGS if name in module.__dict__}
        return adopt(REFERENCES[kind], module, module._modules, **flags)
    return module
