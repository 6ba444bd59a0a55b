"""Reference building blocks of both hourglass families, in plain PyTorch.

These classes are the oracle: every fused block keeps their constructor, their state-dict keys and their result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgfast import _checks
from hgfast.reference.upsample_add import upsample_add

__all__ = ["REFERENCE", "BasicBlock", "BlockSet", "Bottleneck", "ConvModule", "MaxPool", "UpsampleAdd"]

LARGEST_KERNEL = 2**15 - 1  # whose square ATen's sizes hold


def check_widths(module: nn.Module, in_channels: int, out_channels: int, least: int = 1) -> tuple[int, int]:
    """Return both numbers of channels, whole, from 1, and from `least` for the output.

    Raises:
        TypeError, ValueError: they are not; the message names the module and the argument.
    """
    where = type(module).__name__
    into = _checks.integer(where, "in_channels", in_channels, 1)
    return into, _checks.integer(where, "out_channels", out_channels, least)


def check_flags(module: nn.Module, **flags: bool) -> tuple[bool, ...]:
    """Return the flags of a constructor, by their names.

    Raises:
        TypeError: one is no bool.
    """
    return tuple(_checks.flag(type(module).__name__, name, value) for name, value in flags.items())


class ConvModule(nn.Module):
    """Convolution with "same" padding, then optional BatchNorm, then optional ReLU.

    Keys ``conv.*`` and ``bn.*``. It stands for MMPose's ``ConvModule`` (no bias, BatchNorm) and for princeton-vl's
    ``Conv`` (bias, BatchNorm only where asked for).

    Args:
        in_channels: Channels of the input (N, in_channels, H, W).
        out_channels: Channels of the output (N, out_channels, ceil(H / stride), ceil(W / stride)).
        kernel_size: Side of the square kernel, odd.
        stride: Stride in both directions.
        bias: Whether the convolution has a bias.
        bn: Whether a BatchNorm follows.
        relu: Whether a ReLU ends it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        bias: bool = False,
        bn: bool = True,
        relu: bool = True,
    ) -> None:
        super().__init__()
        in_channels, out_channels = check_widths(self, in_channels, out_channels)
        kernel_size = _checks.integer(type(self).__name__, "kernel_size", kernel_size, 1, LARGEST_KERNEL)
        stride = _checks.integer(type(self).__name__, "stride", stride, 1)
        bias, bn, relu = check_flags(self, bias=bias, bn=bn, relu=relu)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels) if bn else None
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return F.relu(x) if self.relu else x


class BasicBlock(nn.Module):
    """Post-activation residual block: ``relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))``, 3x3 convolutions.

    Constructor and keys (``conv1 bn1 conv2 bn2 downsample.0 downsample.1``) are those of torchvision's and MMPose's
    BasicBlock; only the shortcut is made here when ``downsample`` is not given. The shortcut is the identity, or a
    strided 1x1 convolution with BatchNorm where the stride or the width changes.

    Args:
        in_channels: Channels of the input (N, in_channels, H, W).
        out_channels: Channels of the output (N, out_channels, ceil(H / stride), ceil(W / stride)).
        stride: Stride of the first convolution and of the shortcut.
        downsample: Shortcut to use in place of the one described above.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        in_channels, out_channels = check_widths(self, in_channels, out_channels)
        stride = _checks.integer(type(self).__name__, "stride", stride, 1)
        if downsample is not None:
            _checks.instance(type(self).__name__, "downsample", downsample, nn.Module)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        if downsample is None and (stride != 1 or in_channels != out_channels):
            downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = x if self.downsample is None else self.downsample(x)
        return F.relu(out + identity)


class Bottleneck(nn.Module):
    """Pre-activation bottleneck of Newell et al. (2016), princeton-vl's ``Residual``.

    Three times BatchNorm, ReLU, convolution (1x1 to half the width, 3x3, 1x1 to the full width), plus the *raw*
    input (the first ReLU is not in place), through the 1x1 convolution ``skip_layer`` where the widths differ.

    Keys ``bn1 conv1.conv bn2 conv2.conv bn3 conv3.conv skip_layer.conv``; all convolutions have a bias. The peer makes
    ``skip_layer`` also where the widths are equal and never runs it; here such a layer is kept for loading and saving
    and takes no gradient (``requires_grad`` is False).

    Args:
        in_channels: Channels of the input (N, in_channels, H, W).
        out_channels: Channels of the output (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        in_channels, out_channels = check_widths(self, in_channels, out_channels, least=2)
        mid = out_channels // 2
        bare = {"bias": True, "bn": False, "relu": False}
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = ConvModule(in_channels, mid, 1, **bare)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv2 = ConvModule(mid, mid, 3, **bare)
        self.bn3 = nn.BatchNorm2d(mid)
        self.conv3 = ConvModule(mid, out_channels, 1, **bare)
        self.skip_layer = ConvModule(in_channels, out_channels, 1, **bare)
        self.need_skip = in_channels != out_channels
        self.skip_layer.requires_grad_(self.need_skip)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        out = self.conv3(F.relu(self.bn3(out)))
        return out + (self.skip_layer(x) if self.need_skip else x)


class UpsampleAdd(nn.Module):
    """The merge of an hourglass: the skip branch plus the low branch, repeated to its size (nearest neighbour)."""

    def forward(self, skip: Tensor, low: Tensor) -> Tensor:
        """Add skip (N, C, H, W) and low (N, C, h, w) resized to (H, W) as ``F.interpolate(mode="nearest")`` does."""
        return upsample_add(skip, low)


class MaxPool(nn.MaxPool2d):
    """2x2 max-pooling with stride 2; an odd last row or column is left out."""

    def __init__(self) -> None:
        super().__init__(2, 2)

    def branch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the x (N, C, H, W) that another branch reads, and its pooling (N, C, H // 2, W // 2)."""
        return x, self(x)


@dataclass(frozen=True)
class BlockSet:
    """The block classes from which a network is built; the structure of the networks is written once over these.

    Attributes:
        conv: Constructor like :class:`ConvModule`.
        basic: Constructor like :class:`BasicBlock`.
        bottleneck: Constructor like :class:`Bottleneck`.
        merge: Constructor like :class:`UpsampleAdd`.
        pool: Constructor like :class:`MaxPool`.
        memory_format: Layout that the network brings its input to; None leaves it as it comes.
    """

    conv: Callable[..., nn.Module]
    basic: Callable[..., nn.Module]
    bottleneck: Callable[..., nn.Module]
    merge: Callable[..., nn.Module]
    pool: Callable[[], MaxPool] = MaxPool
    memory_format: torch.memory_format | None = None


REFERENCE = BlockSet(ConvModule, BasicBlock, Bottleneck, UpsampleAdd)
