"""Stand-ins for MMPose's and princeton-vl's networks: their attributes, children and forward passes."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
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
    def norm(self):
        return getattr(self, self.norm_name)

    def forward(self, x, activate=True, norm=True):
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
    def norm1(self):
        return getattr(self, self.norm1_name)

    @property
    def norm2(self):
        return getattr(self, self.norm2_name)

    def forward(self, x):
        def inner(x):
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

    def __init__(self, depth, channels, blocks):
        super().__init__()
        self.depth, c, n = depth, channels[0], channels[1]
        self.up1 = ResLayer(blocks[0], c, c)
        self.low1 = ResLayer(blocks[0], c, n, stride=2)
        self.low2 = HourglassModule(depth - 1, channels[1:], blocks[1:]) if depth > 1 else ResLayer(blocks[1], n, n)
        self.low3 = ResLayer(blocks[0], n, c, downsample_first=False)
        self.up2 = nn.Upsample(scale_factor=2)

    def forward(self, x):
        return self.up1(x) + self.up2(self.low3(self.low2(self.low1(x))))


class HourglassNet(nn.Module):
    """MMPose's; the stem's widths are free."""

    def __init__(self, depth=2, num_stacks=2, channels=(8, 6, 10), blocks=(1, 2, 1), feat_channel=12, stem=4):
        super().__init__()
        self.num_stacks, c = num_stacks, channels[0]
        self.stem = nn.Sequential(ConvModule(3, stem, 7, 2, 3), ResLayer(1, stem, c, stride=2))
        self.hourglass_modules = nn.ModuleList(HourglassModule(depth, channels, blocks) for _ in range(num_stacks))
        self.inters = ResLayer(num_stacks - 1, c, c)
        merges = range(num_stacks - 1)
        self.conv1x1s = nn.ModuleList(ConvModule(c, c, 1, act=False) for _ in merges)
        self.out_convs = nn.ModuleList(ConvModule(c, feat_channel, 3, padding=1) for _ in range(num_stacks))
        self.remap_convs = nn.ModuleList(ConvModule(feat_channel, c, 1, act=False) for _ in merges)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x, features = self.stem(x), []
        for i in range(self.num_stacks):
            features.append(self.out_convs[i](self.hourglass_modules[i](x)))
            if i < self.num_stacks - 1:
                x = self.inters[i](self.relu(self.conv1x1s[i](x) + self.remap_convs[i](features[-1])))
        return features


class CPMHead(nn.Module):
    """MMPose's."""

    def __init__(self, c, keypoints, num_stacks):
        super().__init__()
        self.multi_final_layers = nn.ModuleList(nn.Conv2d(c, keypoints, 1) for _ in range(num_stacks))

    def forward(self, features):
        return [layer(feature) for layer, feature in zip(self.multi_final_layers, features, strict=True)]


class TopdownPoseEstimator(nn.Module):
    """MMPose's, as far as backbone and head go."""

    def __init__(self, keypoints=5, num_stacks=2):
        super().__init__()
        self.backbone = HourglassNet(num_stacks=num_stacks)
        self.head = CPMHead(12, keypoints, num_stacks)

    def forward(self, images):
        return self.head(self.backbone(images))


class Conv(nn.Module):
    """princeton-vl's (models/layers.py)."""

    def __init__(self, inp_dim, out_dim, kernel_size=3, stride=1, bn=False, relu=True):
        super().__init__()
        self.inp_dim = inp_dim
        self.conv = nn.Conv2d(inp_dim, out_dim, kernel_size, stride, padding=(kernel_size - 1) // 2, bias=True)
        self.relu = nn.ReLU() if relu else None
        self.bn = nn.BatchNorm2d(out_dim) if bn else None

    def forward(self, x):
        assert x.size()[1] == self.inp_dim, f"{x.size()[1]} {self.inp_dim}"
        x = self.conv(x)
        x = x if self.bn is None else self.bn(x)
        return x if self.relu is None else self.relu(x)


class Residual(nn.Module):
    """princeton-vl's."""

    def __init__(self, inp_dim, out_dim):
        super().__init__()
        self.relu = nn.ReLU()
        self.bn1 = nn.BatchNorm2d(inp_dim)
        self.conv1 = Conv(inp_dim, out_dim // 2, 1, relu=False)
        self.bn2 = nn.BatchNorm2d(out_dim // 2)
        self.conv2 = Conv(out_dim // 2, out_dim // 2, 3, relu=False)
        self.bn3 = nn.BatchNorm2d(out_dim // 2)
        self.conv3 = Conv(out_dim // 2, out_dim, 1, relu=False)
        self.skip_layer = Conv(inp_dim, out_dim, 1, relu=False)
        self.need_skip = inp_dim != out_dim

    def forward(self, x):
        residual = self.skip_layer(x) if self.need_skip else x
        out = self.conv1(self.relu(self.bn1(x)))
        out = self.conv2(self.relu(self.bn2(out)))
        out = self.conv3(self.relu(self.bn3(out)))
        out += residual
        return out


class Hourglass(nn.Module):
    """princeton-vl's."""

    def __init__(self, n, f, increase=0):
        super().__init__()
        nf = f + increase
        self.up1 = Residual(f, f)
        self.pool1 = nn.MaxPool2d(2, 2)
        self.low1 = Residual(f, nf)
        self.n = n
        self.low2 = Hourglass(n - 1, nf) if n > 1 else Residual(nf, nf)
        self.low3 = Residual(nf, f)
        self.up2 = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x):
        up1 = self.up1(x)
        return up1 + self.up2(self.low3(self.low2(self.low1(self.pool1(x)))))


class Merge(nn.Module):
    """princeton-vl's."""

    def __init__(self, x_dim, y_dim):
        super().__init__()
        self.conv = Conv(x_dim, y_dim, 1, relu=False, bn=False)

    def forward(self, x):
        return self.conv(x)


class PoseNet(nn.Module):
    """princeton-vl's; the stem's widths are free."""

    def __init__(self, nstack=2, f=12, keypoints=5, increase=0, stem=(6, 8)):
        super().__init__()
        self.nstack = nstack
        a, b = stem
        self.pre = nn.Sequential(
            Conv(3, a, 7, 2, bn=True), Residual(a, b), nn.MaxPool2d(2, 2), Residual(b, b), Residual(b, f)
        )
        self.hgs = nn.ModuleList(nn.Sequential(Hourglass(4, f, increase)) for _ in range(nstack))
        self.features = nn.ModuleList(nn.Sequential(Residual(f, f), Conv(f, f, 1, bn=True)) for _ in range(nstack))
        self.outs = nn.ModuleList(Conv(f, keypoints, 1, relu=False) for _ in range(nstack))
        self.merge_features = nn.ModuleList(Merge(f, f) for _ in range(nstack - 1))
        self.merge_preds = nn.ModuleList(Merge(keypoints, f) for _ in range(nstack - 1))

    def forward(self, imgs):
        x, combined = self.pre(imgs.permute(0, 3, 1, 2)), []
        for i in range(self.nstack):
            feature = self.features[i](self.hgs[i](x))
            combined.append(self.outs[i](feature))
            if i < self.nstack - 1:
                x = x + self.merge_preds[i](combined[i]) + self.merge_features[i](feature)
        return torch.stack(combined, 1)


def foreign_model(family: str, num_stacks: int = 2) -> nn.Module:
    """The peers' form of tests.small_models.small_model, with the same keys."""
    return TopdownPoseEstimator(num_stacks=num_stacks) if family == "mmpose" else PoseNet(num_stacks)


def heatmaps(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Heat-maps of each stack from images (N, 3, H, W), whichever network it is."""
    if hasattr(model, "nstack"):
        return list(model(images.permute(0, 2, 3, 1)).unbind(1))
    return list(model(images))
