"""Hourglass-52/104 in the form of MMPose: HourglassNet with a CPMHead."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgfast import _checks as checks
from hgfast.models.common import (
    LARGEST,
    LARGEST_DEPTH,
    MOST,
    PoseNetwork,
    block_set,
    check_images,
    images_to_layout,
)
from hgfast.reference.blocks import BlockSet
from hgfast.reference.hourglass import HourglassModule, residual_layer

__all__ = ["HourglassBackbone", "HourglassPose"]


class HourglassBackbone(nn.Module):
    """Stem of stride 4, then ``num_stacks`` hourglasses (MMPose's ``HourglassNet``, same keys).

    Between two hourglasses the input of the first and its feature are projected, added, rectified and passed through
    a BasicBlock; predictions are not fed back. With one stack ``inters.0`` exists, as in the peer, but never runs: it
    is kept for loading and saving and takes no gradient.

    Args: see :class:`HourglassPose`; ``blocks`` are the block classes to build of.
    """

    def __init__(
        self,
        num_stacks: int,
        downsample_times: int,
        stage_channels: Sequence[int],
        stage_blocks: Sequence[int],
        feat_channel: int,
        stem_channels: Sequence[int],
        blocks: BlockSet,
    ) -> None:
        super().__init__()
        num_stacks = checks.integer("", "num_stacks", num_stacks, 1, MOST)
        downsample_times = checks.integer("", "downsample_times", downsample_times, 1, LARGEST_DEPTH)
        feat_channel = checks.integer("", "feat_channel", feat_channel, 1, LARGEST)
        stage_channels = checks.integers("", "stage_channels", stage_channels, minimum=1, maximum=LARGEST)
        stage_blocks = checks.integers("", "stage_blocks", stage_blocks, minimum=0, maximum=MOST)
        stem_channels = checks.integers("", "stem_channels", stem_channels, minimum=1, maximum=LARGEST)
        checks.instance("", "blocks", blocks, BlockSet)
        if not all(stage_blocks[:downsample_times]):
            raise ValueError(f"stage_blocks must be at least 1 in each level that halves the size, got {stage_blocks}")
        if not stage_channels or len(stem_channels) != 2 or stem_channels[1] != stage_channels[0]:
            raise ValueError(
                "stem_channels must be two numbers, the second equal to stage_channels[0]; "
                f"got {tuple(stem_channels)} and stage_channels {tuple(stage_channels)}"
            )
        mid, width = stem_channels
        merges = range(num_stacks - 1)
        self.stem = nn.Sequential(blocks.conv(3, mid, 7, 2), residual_layer(blocks, 1, mid, width, stride=2))
        self.hourglass_modules = nn.ModuleList(
            HourglassModule(downsample_times, stage_channels, stage_blocks, blocks) for _ in range(num_stacks)
        )
        self.inters = residual_layer(blocks, num_stacks - 1, width, width)
        self.inters.requires_grad_(num_stacks > 1)
        self.conv1x1s = nn.ModuleList(blocks.conv(width, width, 1, relu=False) for _ in merges)
        self.out_convs = nn.ModuleList(blocks.conv(width, feat_channel, 3) for _ in range(num_stacks))
        self.remap_convs = nn.ModuleList(blocks.conv(feat_channel, width, 1, relu=False) for _ in merges)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (N, 3, H, W) to one feature map (N, feat_channel, ceil(H/4), ceil(W/4)) per stack."""
        x = self.stem(x)
        features: list[Tensor] = []
        for i, (hourglass, out_conv) in enumerate(zip(self.hourglass_modules, self.out_convs, strict=True)):
            features.append(out_conv(hourglass(x)))
            if i < len(self.conv1x1s):
                x = self.inters[i](F.relu(self.conv1x1s[i](x) + self.remap_convs[i](features[i])))
        return features


class HeatmapHead(nn.Module):
    """One 1x1 convolution with bias per stack, no activation (MMPose's ``CPMHead``, same keys)."""

    def __init__(self, num_stacks: int, feat_channel: int, num_keypoints: int) -> None:
        super().__init__()
        self.multi_final_layers = nn.ModuleList(nn.Conv2d(feat_channel, num_keypoints, 1) for _ in range(num_stacks))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map each feature map (N, feat_channel, h, w) to heatmaps (N, num_keypoints, h, w)."""
        return [layer(feature) for layer, feature in zip(self.multi_final_layers, features, strict=True)]


class HourglassPose(PoseNetwork):
    """Stacked hourglass with BasicBlocks: MMPose's hourglass52 (one stack) and hourglass104 (two).

    State-dict keys are MMPose 1.x's, ``backbone.*`` and ``head.multi_final_layers.<stack>.*``, including the weights
    of ``backbone.inters.0`` that do not run with one stack (not trained here; under DDP they break MMPose).
    Convolutions start normal with standard deviation 0.001, BatchNorm as the identity, as the peer has it;
    :meth:`reset_parameters` draws others.

    Args:
        num_keypoints: Heatmaps per stack, K.
        num_stacks: Hourglasses in a row.
        downsample_times: Depth of each hourglass, d.
        stage_channels: Width of each level of an hourglass, at least d + 1 numbers.
        stage_blocks: Blocks per branch of each level, as many.
        feat_channel: Width of the features that the head reads.
        stem_channels: Width after the stem's first convolution and after its block; the latter is stage_channels[0].
        implementation: "fused" works in channels_last on hgfast's kernels; "reference" is plain PyTorch and leaves
            the layout of images as it comes. Weights are contiguous in both.

    Raises:
        TypeError: If a number, a sequence of numbers or a name is expected, and something else comes.
        ValueError: If a number is out of range, or the numbers do not fit together.
    """

    stride = 4
    head_layers = ("head.",)

    def __init__(
        self,
        num_keypoints: int = 16,
        num_stacks: int = 1,
        downsample_times: int = 5,
        stage_channels: Sequence[int] = (256, 256, 384, 384, 384, 512),
        stage_blocks: Sequence[int] = (2, 2, 2, 2, 2, 4),
        feat_channel: int = 256,
        stem_channels: Sequence[int] = (128, 256),
        implementation: str = "fused",
    ) -> None:
        super().__init__()
        num_keypoints = checks.integer("", "num_keypoints", num_keypoints, 1, LARGEST)
        blocks = block_set(implementation)
        self.downsample_times = downsample_times
        self.implementation = implementation
        self.backbone = HourglassBackbone(
            num_stacks, downsample_times, stage_channels, stage_blocks, feat_channel, stem_channels, blocks
        )
        self.head = HeatmapHead(num_stacks, feat_channel, num_keypoints)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, init: str = "peer") -> None:
        """Draw new weights; biases are 0, BatchNorm 1 and 0.

        Args:
            init: "peer" draws convolutions from normal(0, 0.001), as MMPose does. "kaiming" draws the backbone's from
                normal(0, sqrt(2 / fan_in)) (He et al. 2015). BatchNorm makes the two the same function, but Adam's
                first steps are of the size of the learning rate whatever the gradient is, so they replace weights of
                0.001 by their own signs and move larger ones a little. The head keeps 0.001: its maps start near 0.

        Raises:
            TypeError: If ``init`` is not a str.
            ValueError: If it is something else.
        """
        checks.choice("", "init", init, ("peer", "kaiming"))
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                weight = module.weight.new_empty(module.weight.shape)  # the same numbers in every memory format
                if init == "kaiming" and name.startswith("backbone."):
                    nn.init.kaiming_normal_(weight, nonlinearity="relu")
                else:
                    nn.init.normal_(weight, std=0.001)
                module.weight.copy_(weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    @property
    def size_rule(self) -> tuple[int, int]:
        """4 * 2**downsample_times, and 3 for the two strides that round up."""
        return self.stride << self.downsample_times, self.stride - 1

    def forward(self, images: Tensor) -> list[Tensor]:
        """Predict heatmaps.

        Args:
            images: (N, 3, H, W), floating point, normalised as the model was trained (MMPose: RGB minus
                (123.675, 116.28, 103.53), over (58.395, 57.12, 57.375)). ceil(H/4) and ceil(W/4) must be multiples of
                2**downsample_times: 128, 256, 384, ... or up to 3 less, for depth 5. Any layout.

        Returns:
            One tensor (N, K, ceil(H/4), ceil(W/4)) per stack; ``torch.stack(result, 1)`` gives (N, S, K, h, w).

        Raises:
            TypeError: If images is not a floating point tensor of the weights' dtype (any dtype with autocast).
            ValueError: If its shape or device is not accepted.
        """
        unit, slack = self.size_rule
        check_images(images, unit, slack, weight=next(self.parameters(), None))
        return self.head(self.backbone(images_to_layout(images, self.memory_format)))
