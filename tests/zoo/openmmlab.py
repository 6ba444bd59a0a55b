"""MMPose's and MMDetection's hourglasses: their attributes, children and forward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class ConvModule(nn.Module):
    """mmcv's."""

    def __init__(self, c: int, k: int, kernel: int, stride: int = 1, padding: int = 0, act: bool = True) -> None:
        super().__init__()
        self.order, self.with_norm, self.with_activation, self.with_bias = ("conv", "norm", "act"), True, act, False
        self.conv = nn.Conv2d(c, k, kernel, stride, padding, bias=False)
        self.norm_name, self.efficient_conv_bn_eval_forward = "bn", None
        self.add_module("bn", nn.BatchNorm2d(k))
        if act:
            self.activate = nn.ReLU(inplace=True)

    @property
    def norm(self) -> nn.Module:
        return getattr(self, self.norm_name)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, activate: bool = True, norm: bool = True) -> Tensor:
        i = 0
        while i < len(self.order):
            layer = self.order[i]
            if layer == "conv":
                if norm and self.with_norm and not self.norm.training and self.efficient_conv_bn_eval_forward:
                    self.conv.forward = partial(self.efficient_conv_bn_eval_forward, self.norm, self.conv)
                    i += 1
                    x = self.conv(x)
                    del self.conv.forward
                else:
                    x = self.conv(x)
            elif layer == "norm" and norm and self.with_norm:
                x = self.norm(x)
            elif layer == "act" and activate and self.with_activation:
                x = self.activate(x)
            i += 1
        return x


class BasicBlock(nn.Module):
    """MMPose's (models/backbones/resnet.py)."""

    def __init__(self, c: int, k: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.stride, self.with_cp = c, k, stride, False
        self.norm1_name, self.norm2_name = "bn1", "bn2"
        self.conv1 = nn.Conv2d(c, k, 3, stride, 1, bias=False)
        self.add_module("bn1", nn.BatchNorm2d(k))
        self.conv2 = nn.Conv2d(k, k, 3, padding=1, bias=False)
        self.add_module("bn2", nn.BatchNorm2d(k))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.drop_path = nn.Identity()

    @property
    def norm1(self) -> nn.Module:
        return getattr(self, self.norm1_name)

    @property
    def norm2(self) -> nn.Module:
        return getattr(self, self.norm2_name)

    def forward(self, x: Tensor) -> Tensor:
        def inner(x: Tensor) -> Tensor:
            identity = x
            out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
            if self.downsample is not None:
                identity = self.downsample(x)
            out = self.drop_path(out)
            out += identity
            return out

        out = checkpoint(inner, x) if self.with_cp and x.requires_grad else inner(x)
        return self.relu(out)


class ResLayer(nn.Sequential):
    """MMPose's (models/backbones/hourglass.py)."""

    def __init__(self, count: int, c: int, k: int, stride: int = 1, downsample_first: bool = True) -> None:
        down = None
        if stride != 1 or c != k:
            down = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k))
        changing = BasicBlock(c, k, stride, down)
        if downsample_first:
            super().__init__(changing, *(BasicBlock(k, k) for _ in range(1, count)))
        else:
            super().__init__(*(BasicBlock(c, c) for _ in range(count - 1)), changing)


class HourglassModule(nn.Module):
    """MMPose's."""

    def __init__(self, depth: int, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.depth, c, n = depth, channels[0], channels[1]
        self.up1 = ResLayer(blocks[0], c, c)
        self.low1 = ResLayer(blocks[0], c, n, stride=2)
        self.low2 = type(self)(depth - 1, channels[1:], blocks[1:]) if depth > 1 else ResLayer(blocks[1], n, n)
        self.low3 = ResLayer(blocks[0], n, c, downsample_first=False)
        self.up2 = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up1(x) + self.up2(self.low3(self.low2(self.low1(x))))


class HourglassOfAnySize(HourglassModule):
    """MMDetection's: brings the lower branch to the size of the upper one."""

    def forward(self, x: Tensor) -> Tensor:
        up1 = self.up1(x)
        up2 = F.interpolate(self.low3(self.low2(self.low1(x))), size=up1.shape[2:], mode="nearest")
        return up1 + up2


class HourglassNet(nn.Module):
    """MMPose's; the stem's widths are free."""

    def __init__(
        self,
        depth: int = 2,
        num_stacks: int = 2,
        channels: Sequence[int] = (8, 6, 10),
        blocks: Sequence[int] = (1, 2, 1),
        feat_channel: int = 12,
        stem: int = 4,
        module: Callable[..., nn.Module] = HourglassModule,
    ) -> None:
        super().__init__()
        self.num_stacks, self.feat_channel, c = num_stacks, feat_channel, channels[0]
        self.stem = nn.Sequential(ConvModule(3, stem, 7, 2, 3), ResLayer(1, stem, c, stride=2))
        self.hourglass_modules = nn.ModuleList(module(depth, channels, blocks) for _ in range(num_stacks))
        self.inters = ResLayer(num_stacks - 1, c, c)
        merges = range(num_stacks - 1)
        self.conv1x1s = nn.ModuleList(ConvModule(c, c, 1, act=False) for _ in merges)
        self.out_convs = nn.ModuleList(ConvModule(c, feat_channel, 3, padding=1) for _ in range(num_stacks))
        self.remap_convs = nn.ModuleList(ConvModule(feat_channel, c, 1, act=False) for _ in merges)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, features = self.stem(x), []
        for i in range(self.num_stacks):
            features.append(self.out_convs[i](self.hourglass_modules[i](x)))
            if i < self.num_stacks - 1:
                x = self.inters[i](self.relu(self.conv1x1s[i](x) + self.remap_convs[i](features[-1])))
        return features


class CPMHead(nn.Module):
    """MMPose's."""

    def __init__(self, c: int, keypoints: int, num_stacks: int) -> None:
        super().__init__()
        self.multi_final_layers = nn.ModuleList(nn.Conv2d(c, keypoints, 1) for _ in range(num_stacks))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [layer(feature) for layer, feature in zip(self.multi_final_layers, features, strict=True)]


class TopdownPoseEstimator(nn.Module):
    """MMPose's, as far as backbone and head go."""

    def __init__(self, keypoints: int = 5, num_stacks: int = 2, backbone: HourglassNet | None = None) -> None:
        super().__init__()
        self.backbone = HourglassNet(num_stacks=num_stacks) if backbone is None else backbone
        self.head = CPMHead(self.backbone.feat_channel, keypoints, self.backbone.num_stacks)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.head(self.backbone(images))


DEPTHS: dict[str, Any] = {"channels": (256, 256, 384, 384, 384, 512), "blocks": (2, 2, 2, 2, 2, 4)}


def hourglass52() -> nn.Module:
    """MMPose's one stack with a head of 17 joints."""
    return TopdownPoseEstimator(17, backbone=HourglassNet(5, 1, **DEPTHS, feat_channel=256, stem=128))


def hourglass104() -> nn.Module:
    """MMDetection's two stacks without their detector."""
    return HourglassNet(5, 2, **DEPTHS, feat_channel=256, stem=128, module=HourglassOfAnySize)
