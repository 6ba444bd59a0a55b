"""A peer: what can be fused by hand with PyTorch's own cuDNN functions.

BatchNorm is folded into the convolutions; convolution, bias and ReLU are one `torch.cudnn_convolution_relu`; with a
residual one `torch.cudnn_convolution_add_relu`. The merge, the pre-activations and the pooling stay separate.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hgfast.reference.blocks import BasicBlock, Bottleneck, ConvModule


class Folded(nn.Module):
    """A convolution with the BatchNorm after it folded in; optionally with ReLU, or a residual and ReLU."""

    def __init__(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, relu: bool = True) -> None:
        """bn: a BatchNorm2d in evaluation mode, or None."""
        super().__init__()
        folded = conv if bn is None else torch.nn.utils.fuse_conv_bn_eval(conv, bn)
        self.weight = nn.Parameter(folded.weight.detach().clone(), requires_grad=False)
        bias = torch.zeros(conv.out_channels) if folded.bias is None else folded.bias.detach().clone()
        self.bias = nn.Parameter(bias, requires_grad=False)
        padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
        self.shape: Any = (conv.stride, padding, (1, 1), 1)  # stride, padding, dilation, groups
        self.relu = relu

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Convolution + bias, (+ residual) and ReLU where asked for."""
        if residual is not None:
            return torch.cudnn_convolution_add_relu(x, self.weight, residual, 1.0, self.bias, *self.shape)
        if self.relu:
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, *self.shape)
        return F.conv2d(x, self.weight, self.bias, *self.shape)


class FusedBasicBlock(nn.Module):
    """BasicBlock in two launches, three with a shortcut convolution."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.conv1, self.conv2 = Folded(block.conv1, block.bn1), Folded(block.conv2, block.bn2)
        self.shortcut: nn.Module = nn.Identity()
        if isinstance(block.downsample, nn.Sequential):
            self.shortcut = Folded(*block.downsample, relu=False)  # type: ignore[arg-type,misc]

    def forward(self, x: Tensor) -> Tensor:
        """As the block in evaluation mode."""
        return self.conv2(self.conv1(x), self.shortcut(x))


class FusedBottleneck(nn.Module):
    """Bottleneck: the second and third BatchNorm-ReLU become epilogues of the convolutions before them."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.bn1, self.conv3 = block.bn1, block.conv3
        self.conv1, self.conv2 = Folded(block.conv1.conv, block.bn2), Folded(block.conv2.conv, block.bn3)
        self.shortcut = block.skip_layer if block.need_skip else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """As the block in evaluation mode."""
        return self.conv3(self.conv2(self.conv1(F.relu(self.bn1(x))))) + self.shortcut(x)


def fused(module: nn.Module) -> nn.Module:
    """The same network with its blocks replaced; module must be in evaluation mode and is changed.

    Raises:
        ValueError: module is in training mode.
    """
    if module.training:
        raise ValueError("fused: module must be in evaluation mode")
    if isinstance(module, BasicBlock):
        return FusedBasicBlock(module)
    if isinstance(module, Bottleneck):
        return FusedBottleneck(module)
    if isinstance(module, ConvModule):
        return Folded(module.conv, module.bn, module.relu)
    for name, child in module.named_children():
        setattr(module, name, fused(child))
    return module
