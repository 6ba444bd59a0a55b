"""All networks of the zoo: how they are made, wide and narrow, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo import bearpaw, cornernet, dla, fan, hrnet, openmmlab, princeton, resnet, timm_hrnet
from tests.zoo.associative import AssociativeNet, NormThenRelu, ReluThenNorm
from tests.zoo.variants import DroppingResidual, HourglassOf, InvertedResidual

STEM = "7x7: oneDNN's is as fast in training"
DEPTHWISE = "depthwise"
GROUP_NORM = "before GroupNorm"
DECONV = "transposed"
ONE_PIXEL = "of one pixel: vectors, which gain nothing"


@dataclass(frozen=True)
class Network:
    """One network.

    Args:
        name: of the entry.
        full: makes it as published.
        small: makes a narrow one of the same blocks, with fewer of them.
        size: height and width of its usual input.
        small_size: of the narrow one's.
        millions: parameters as published, in millions to the digits that were published; None where no figure is known.
        keys: some names of its state dict in the public layout, with shapes.
        taken: convolutions of the narrow one that hgfast has a kernel for: what `fused` and `frozen` may reach.
        left: its others by their kind, and how many of them there are.
        fused: how many of all run in hgfast's kernels after `hgfast.fuse`; a test wants this number.
        nhwc: it takes images (N, H, W, 3).
        random: it draws random numbers in training.
    """

    name: str
    full: Callable[[], nn.Module]
    small: Callable[[], nn.Module]
    size: tuple[int, int] = (256, 256)
    small_size: tuple[int, int] = (64, 64)
    millions: str | None = None
    keys: dict[str, tuple[int, ...]] = field(default_factory=dict)
    taken: int = 0
    left: dict[str, int] = field(default_factory=dict)
    fused: int = 0
    nhwc: bool = False
    random: bool = False

    @property
    def convolutions(self) -> int:
        """How many convolutions the narrow one runs."""
        return self.taken + sum(self.left.values())

    @property
    def frozen(self) -> int:
        """How many of them run in kernels when it is frozen, whose kernels take more kinds."""
        return self.convolutions - self.left.get(DEPTHWISE, 0)

    def images(self, batch: int, size: tuple[int, int] | None = None) -> Tensor:
        """Random images as the network takes them, of the narrow one's size unless another is given."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch, 3, *(self.small_size if size is None else size), generator=generator)
        return images.permute(0, 2, 3, 1).contiguous() if self.nhwc else images


def with_random_numbers(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with weights that keep activations at the order of 1, and BatchNorms that are not fresh."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5, generator=generator)
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=(4 * module.in_channels) ** -0.5, generator=generator)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
        bias = getattr(module, "bias", None)
        if bias is not None:
            nn.init.uniform_(bias, -0.2, 0.2, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def results(out: object) -> list[Tensor]:
    """All tensors in what a network gives: a tensor, or lists and dicts of them."""
    if isinstance(out, Tensor):
        return [out]
    parts = out.values() if isinstance(out, dict) else out
    return [tensor for part in parts for tensor in results(part)]  # type: ignore[attr-defined]


NARROW_104: dict[str, Any] = {"dims": (16, 16, 24, 32), "modules": (2, 1, 1, 2)}
NETWORKS = [
    Network(
        "hg8 (princeton-vl)", princeton.hg8, partial(princeton.PoseNet, depth=2), nhwc=True, left={STEM: 1},
        keys={"hgs.7.0.low2.low2.low2.low2.conv2.conv.weight": (128, 128, 3, 3), "pre.1.skip_layer.conv.bias": (128,)},
        taken=65, fused=65,
    ),
    Network(
        "hg8 (bearpaw)", partial(bearpaw.HourglassNet, 8), partial(bearpaw.HourglassNet, planes=8, joints=5, depth=3),
        millions="25.59", left={STEM: 1},
        keys={"hg.7.hg.0.3.0.conv2.weight": (128, 128, 3, 3), "layer1.0.downsample.0.bias": (128,)},
        taken=83, fused=83,
    ),
    Network(
        "hg2 of GroupNorm", partial(bearpaw.HourglassNet, norm=bearpaw.group_norm),
        partial(bearpaw.HourglassNet, planes=8, joints=5, depth=2, norm=bearpaw.group_norm), millions="6.73",
        left={STEM: 1, GROUP_NORM: 40},
        taken=25, fused=65,
    ),
    Network(
        "hourglass52 (MMPose)", openmmlab.hourglass52, openmmlab.TopdownPoseEstimator, millions="94.85", left={STEM: 1},
        keys={"backbone.hourglass_modules.0.low2.low2.low2.low2.low2.3.conv2.weight": (512, 512, 3, 3)},
        taken=59, fused=59,
    ),
    Network(
        "hourglass104 (MMDetection)", openmmlab.hourglass104,
        partial(openmmlab.HourglassNet, module=openmmlab.HourglassOfAnySize), (512, 512), (72, 56), left={STEM: 1},
        keys={"hourglass_modules.1.low2.low3.1.downsample.0.weight": (256, 384, 1, 1)},
        taken=57, fused=57,
    ),
    Network(
        "hourglass104 with corners", cornernet.CornerNet, partial(cornernet.CornerNet, **NARROW_104), (512, 512),
        millions="201.0", left={STEM: 1},
        keys={"kps.1.low1.0.skip.0.weight": (256, 256, 1, 1), "br_cnvs.0.p2_conv1.bn.weight": (128,)},
        taken=119, fused=119,
    ),
    Network(
        "hourglass104 with centres", cornernet.CenterNet, partial(cornernet.CenterNet, **NARROW_104), (512, 512),
        millions="191.3", left={STEM: 1}, keys={"hm.1.0.conv.bias": (256,), "inters_.0.1.running_var": (256,)},
        taken=87, fused=87,
    ),
    Network(
        "FAN-4", fan.FAN, partial(fan.FAN, 2, 16, 5, depth=2), millions="23.82", left={STEM: 1},
        keys={"m3.b2_plus_1.conv3.weight": (64, 64, 3, 3), "conv4.downsample.2.weight": (256, 128, 1, 1)},
        taken=65, fused=65,
    ),
    Network(
        "associative embedding (pose-ae)", partial(AssociativeNet, ReluThenNorm),
        partial(AssociativeNet, ReluThenNorm, 2, (8, 12, 16), 6), (512, 512), left={STEM: 1}, millions="138.9",
        keys={"features.3.0.low2.low2.low2.low2.conv.weight": (768, 768, 3, 3)},
        taken=25, fused=25,
    ),
    Network(
        "associative embedding (MMPose)", partial(AssociativeNet, NormThenRelu),
        partial(AssociativeNet, NormThenRelu, 2, (8, 12, 16), 6), (512, 512), left={STEM: 1},
        taken=25, fused=25,
    ),
    Network(
        "HRNet-W32 (MMPose)", hrnet.PoseHRNet, partial(hrnet.PoseHRNet, 6, (1, 1, 2), 1, 8, 5), (256, 192),
        millions="28.54",
        keys={"backbone.stage4.2.fuse_layers.0.3.0.weight": (32, 256, 1, 1),
              "backbone.stage4.1.fuse_layers.3.0.2.0.weight": (256, 32, 3, 3)},
        taken=65, fused=65,
    ),
    Network(
        "HRNet-W32 (timm)", timm_hrnet.HighResolutionNet,
        partial(timm_hrnet.HighResolutionNet, 6, (1, 1, 1), 1, 8, (4, 6, 8, 10), 5), (224, 224), millions="41.23",
        keys={"stage4.2.fuse_layers.3.0.2.0.weight": (256, 32, 3, 3), "incre_modules.3.0.downsample.1.bias": (1024,)},
        taken=73, fused=73,
    ),
    Network(
        "SimpleBaseline-50", resnet.PoseResNet, partial(resnet.PoseResNet, (1, 2, 1, 1), 8, 5), (256, 192),
        millions="34.00", left={STEM: 1, DECONV: 3},
        keys={"deconv_layers.6.weight": (256, 256, 4, 4), "layer4.0.downsample.0.weight": (2048, 1024, 1, 1)},
        taken=20, fused=20,
    ),
    Network(
        "ResNet-18", resnet.resnet18, partial(resnet.resnet18, 8, 2, 5), (224, 224), millions="11.69", left={STEM: 1},
        keys={"layer2.0.downsample.0.weight": (128, 64, 1, 1), "fc.weight": (1000, 512)},
        taken=19, fused=19,
    ),
    Network(
        "ResNet-50", resnet.resnet50, partial(resnet.resnet50, 8, (1, 2, 1, 1), classes=5), (224, 224),
        millions="25.557", left={STEM: 1}, keys={"layer3.5.conv2.weight": (256, 256, 3, 3)},
        taken=19, fused=19,
    ),
    Network(
        "SE-ResNet-50", partial(resnet.resnet50, se=True), partial(resnet.resnet50, 16, (1, 2, 1, 1), True, 5),
        (224, 224), millions="28.09", left={STEM: 1, ONE_PIXEL: 10},
        keys={"layer1.2.se_module.fc1.weight": (16, 256, 1, 1)},
        taken=19, fused=29,
    ),
    Network(
        "DLA-34", dla.DLA, partial(dla.DLA, (4, 6, 8, 10, 12, 14), classes=5), (224, 224), millions="15.742",
        left={STEM: 1, ONE_PIXEL: 1},
        keys={"level3.tree2.root.conv.weight": (128, 448, 1, 1), "level3.tree1.project.0.weight": (128, 64, 1, 1)},
        taken=36, fused=37,
    ),
    Network(
        "hourglass of inverted residuals", partial(HourglassOf, InvertedResidual),
        partial(HourglassOf, InvertedResidual, c=8, depth=2, joints=5), left={DEPTHWISE: 15},
        taken=34, fused=34,
    ),
    Network(
        "hourglass that drops out", partial(HourglassOf, DroppingResidual),
        partial(HourglassOf, DroppingResidual, c=8, depth=2, joints=5), random=True, taken=35, fused=35,
    ),
]  # fmt: skip
