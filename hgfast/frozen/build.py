"""From a trained model to its graph: finds the networks it knows by their attributes, whosever classes they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hgfast.frozen.fold import Folded, batch_norm_affine, fold, fold_module
from hgfast.frozen.graph import IMAGE, ConvCall, Extra, Graph, PoolCall, Second, Value


class GraphBuilder:
    """Appends calls to a graph; the methods take and give values."""

    def __init__(self, unit: int, slack: int, in_channels: int) -> None:
        """unit, slack: see Graph."""
        self.graph = Graph(unit, slack, in_channels)

    def conv(
        self,
        name: str,
        x: Value,
        folded: Folded,
        *,
        relu: bool | None = None,
        residual: Value | None = None,
        upsample_to: Value | None = None,
        extra: tuple[Value, Folded] | None = None,
    ) -> Value:
        """One convolution; relu=None takes what the module itself says."""
        bias, more = folded.bias, None
        if extra is not None:
            value, shortcut = extra
            bias = bias + shortcut.bias
            more = Extra(value, shortcut.weight.flatten(1).float(), shortcut.stride)
        output = self.graph.new_value()
        relu = folded.relu if relu is None else relu
        arguments = (name, output, x, folded.weight.float(), bias.float(), folded.stride, relu)
        self.graph.calls.append(ConvCall(*arguments, residual, upsample_to, more))
        return output

    def pool(self, name: str, x: Value) -> Value:
        """2x2 max-pooling."""
        self.graph.calls.append(PoolCall(name, self.graph.new_value(), x))
        return self.graph.calls[-1].output

    def batch_norm_relu(self, x: Value, bn: nn.Module) -> Value:
        """relu(bn(x)) as the second output of the call that makes x.

        Raises:
            ValueError: x has a second output already (no network here needs two).
        """
        call = self.graph.producer(x)
        if call.second is not None:
            raise ValueError(f"freeze: two pre-activation blocks read the output of {call.name}")
        scale, shift = batch_norm_affine(bn)
        call.second = Second(self.graph.new_value(), scale.float(), shift.float())
        return call.second.value

    def basic_block(self, name: str, block: Any, x: Value, upsample_to: Value | None = None) -> Value:
        """Post-activation block; its shortcut, where it is a convolution, becomes part of conv2."""
        norm1, norm2 = (getattr(block, f"bn{i}", None) or getattr(block, f"norm{i}") for i in (1, 2))
        out = self.conv(f"{name}.conv1", x, fold(block.conv1, norm1, relu=True))
        residual: Value | None = x
        extra = None
        if block.downsample is not None:
            conv, norm = block.downsample
            residual, extra = None, (x, fold(conv, norm))
        second = fold(block.conv2, norm2, relu=True)
        return self.conv(f"{name}.conv2", out, second, residual=residual, extra=extra, upsample_to=upsample_to)

    def layer(self, name: str, blocks: Any, x: Value, upsample_to: Value | None = None) -> Value:
        """BasicBlocks in a row; the last one merges."""
        for i, block in enumerate(blocks):
            x = self.basic_block(f"{name}.{i}", block, x, upsample_to if i == len(blocks) - 1 else None)
        return x

    def bottleneck(self, name: str, block: Any, x: Value, upsample_to: Value | None = None) -> Value:
        """Pre-activation block: bn1 rides on the call before it, bn2 and bn3 are folded, the skip is in conv3."""
        out = self.batch_norm_relu(x, block.bn1)
        out = self.conv(f"{name}.conv1", out, fold(block.conv1.conv, block.bn2, relu=True))
        out = self.conv(f"{name}.conv2", out, fold(block.conv2.conv, block.bn3, relu=True))
        third = fold_module(block.conv3)
        residual, extra = (None, (x, fold_module(block.skip_layer))) if block.need_skip else (x, None)
        return self.conv(f"{name}.conv3", out, third, residual=residual, extra=extra, upsample_to=upsample_to)


def _mmpose_hourglass(b: GraphBuilder, name: str, module: Any, x: Value) -> Value:
    up1 = b.layer(f"{name}.up1", module.up1, x)
    low = b.layer(f"{name}.low1", module.low1, x)
    if isinstance(module.low2, nn.Sequential):
        low = b.layer(f"{name}.low2", module.low2, low)
    else:
        low = _mmpose_hourglass(b, f"{name}.low2", module.low2, low)
    return b.layer(f"{name}.low3", module.low3, low, upsample_to=up1)


def _depth(hourglass: Any) -> int:
    inner = hourglass.low2
    return 1 + (_depth(inner) if hasattr(inner, "low2") else 0)


def _head(model: Any) -> Any:
    return model.head if hasattr(model, "head") else model.keypoint_head


def _final_layers(head: Any, num_stacks: int) -> list[nn.Module | None]:
    """The heat-map convolution of each stack: CPMHead's, or HeatmapHead's `final_layer`, which reads the last one only.

    Raises:
        ValueError: the head has further layers.
    """
    for name in ("multi_deconv_layers", "deconv_layers", "conv_layers"):
        layers = getattr(head, name, None)
        for layer in layers if isinstance(layers, nn.ModuleList) else [layers]:
            if layer is not None and not isinstance(layer, nn.Identity):
                raise ValueError(f"freeze: head.{name} must be identities, got {type(layer).__name__}")
    if hasattr(head, "multi_final_layers"):
        return list(head.multi_final_layers)
    return [*[None] * (num_stacks - 1), head.final_layer]


def build_mmpose(model: Any) -> Graph:
    """HourglassPose, and MMPose's estimator of the same networks (`backbone`, `head` or 0.x's `keypoint_head`)."""
    backbone = model.backbone
    finals = _final_layers(_head(model), len(backbone.hourglass_modules))
    first = backbone.stem[0]
    b = GraphBuilder(4 << _depth(backbone.hourglass_modules[0]), 3, first.conv.in_channels)
    x = b.conv("stem.0", IMAGE, fold_module(first))
    x = b.layer("stem.1", backbone.stem[1], x)
    last = len(backbone.hourglass_modules) - 1
    for i, hourglass in enumerate(backbone.hourglass_modules):
        feature = _mmpose_hourglass(b, f"hourglass.{i}", hourglass, x)
        feature = b.conv(f"out_convs.{i}", feature, fold_module(backbone.out_convs[i]))
        if finals[i] is not None:
            b.graph.outputs.append(b.conv(f"head.{i}", feature, fold_module(finals[i])))
        if i < last:
            remap = (feature, fold_module(backbone.remap_convs[i]))
            x = b.conv(f"conv1x1s.{i}", x, fold_module(backbone.conv1x1s[i]), extra=remap, relu=True)
            x = b.basic_block(f"inters.{i}", backbone.inters[i], x)
    return b.graph


def _newell_hourglass(b: GraphBuilder, name: str, module: Any, x: Value) -> Value:
    up1 = b.bottleneck(f"{name}.up1", module.up1, x)
    low = b.bottleneck(f"{name}.low1", module.low1, b.pool(f"{name}.pool1", x))
    if hasattr(module.low2, "low2"):
        low = _newell_hourglass(b, f"{name}.low2", module.low2, low)
    else:
        low = b.bottleneck(f"{name}.low2", module.low2, low)
    return b.bottleneck(f"{name}.low3", module.low3, low, upsample_to=up1)


def build_newell(model: Any) -> Graph:
    """StackedHourglass, and princeton-vl's PoseNet (`pre`, `hgs`, `features`, `outs`)."""
    pre, last = model.pre, len(model.hgs) - 1
    b = GraphBuilder(4 << _depth(model.hgs[0][0]), 0, pre[0].conv.in_channels)
    x = b.bottleneck("pre.1", pre[1], b.conv("pre.0", IMAGE, fold_module(pre[0])))
    x = b.pool("pre.2", x)
    for i in (3, 4):
        x = b.bottleneck(f"pre.{i}", pre[i], x)
    for i in range(last + 1):
        feature = _newell_hourglass(b, f"hgs.{i}", model.hgs[i][0], x)
        feature = b.bottleneck(f"features.{i}.0", model.features[i][0], feature)
        feature = b.conv(f"features.{i}.1", feature, fold_module(model.features[i][1]))
        heatmaps = b.conv(f"outs.{i}", feature, fold_module(model.outs[i]))
        b.graph.outputs.append(heatmaps)
        if i < last:
            predictions = (heatmaps, fold_module(model.merge_preds[i].conv))
            merged = fold_module(model.merge_features[i].conv)
            x = b.conv(f"merge.{i}", feature, merged, extra=predictions, residual=x)
    return b.graph


def build_graph(model: nn.Module) -> Graph:
    """The graph of a model.

    Raises:
        TypeError: the model is none of the networks that are known.
        ValueError: a part of it has no fused form.
    """
    with torch.no_grad():
        if hasattr(model, "backbone") and hasattr(model.backbone, "hourglass_modules"):
            return _build(build_mmpose, model, "MMPose's (backbone.hourglass_modules, head)")
        if all(hasattr(model, name) for name in ("pre", "hgs", "features", "outs")):
            return _build(build_newell, model, "princeton-vl's (pre, hgs, features, outs)")
    raise TypeError(
        "freeze: model must be an hourglass in MMPose's form (backbone.hourglass_modules, head) or in princeton-vl's "
        f"(pre, hgs, features, outs); got {type(model).__name__}"
    )


def _build(build: Callable[[Any], Graph], model: nn.Module, whose: str) -> Graph:
    """A look-alike differs in some part; what Python says there is the best name of it.

    Raises:
        TypeError: the model is one.
    """
    try:
        return build(model)
    except (AttributeError, TypeError, IndexError, KeyError) as error:
        raise TypeError(
            f"freeze: model must be built as {whose} all through; {type(model).__name__} looks like it, but "
            f"{type(error).__name__}: {error}"
        ) from error


def run_model(model: Any, images: Tensor) -> list[Tensor]:
    """Heat-maps (N, K, h, w) of each stack from the unfrozen model, whichever it is, for images (N, 3, H, W)."""
    if hasattr(model, "backbone"):
        heatmaps = _head(model)(model.backbone(images))
        return [heatmaps] if isinstance(heatmaps, Tensor) else list(heatmaps)
    if hasattr(model, "nstack"):  # princeton-vl's PoseNet: (N, H, W, 3) in, stacked heat-maps out
        return list(model(images.permute(0, 2, 3, 1)).unbind(1))
    return list(model(images))
