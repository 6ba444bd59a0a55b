"""The drop-in modules: their arguments, their results and gradients against the reference blocks."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import hgfast.nn
from hgfast import reference
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.compare import against, difference
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Int, Ints, Number
from tests.fuzz.targets.decode_ops import affine, mirrored, same_points
from tests.fuzz.targets.ops import low_size, merged, values_of
from tests.fuzz.tensor_kinds import Tensor


def randomised(module: nn.Module) -> nn.Module:
    """With parameters and statistics as after some training."""
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            positive = name.endswith(("running_var", "bn.weight", "bn1.weight", "bn2.weight"))
            value.copy_(torch.rand_like(value) + 0.5 if positive else torch.randn_like(value) * 0.4)
    return module


def forward(draw: Draw, module: nn.Module, twin: nn.Module, shape: tuple[int, ...], least: dict[int, int]) -> Case:
    """module(x) against its twin in float64, with the gradients of x and of all parameters."""
    module = randomised(module)
    twin.load_state_dict(module.state_dict())
    dtype = draw.one((torch.float32, torch.float32, torch.float64))
    module.to(dtype).train(draw.chance(0.5))
    twin.double().train(module.training)
    if draw.chance(0.5):
        module.to(memory_format=torch.channels_last)
    if hasattr(module, "recompute"):
        module.recompute = draw.chance(0.3)
    grad = draw.chance(0.7)
    x = draw.tensor(*shape, dtype=dtype, grad=grad)
    few = module.training and min(shape[0], 2) * shape[2] * shape[3] < 64  # BatchNorm of few numbers amplifies
    allowed = 1e-7 if dtype == torch.float64 else 0.1 if few else 3e-3
    check = _module_check(module, twin, x, allowed, 0.5 if dtype == torch.float32 else 1e-5)
    return call(draw, module, {"x": Arg(x, Tensor((1,), least, tied=True))}, check if not few else _same_shape(twin, x))


def _same_shape(twin: nn.Module, x: torch.Tensor) -> Callable[[Any], str | None]:
    def check(result: torch.Tensor) -> str | None:
        wanted = copy.deepcopy(twin)(x.detach().double()).shape
        return None if result.shape == wanted else f"shape {tuple(result.shape)}, expected {tuple(wanted)}"

    return check


def _module_check(
    module: nn.Module, twin: nn.Module, x: torch.Tensor, allowed: float, of_gradient: float
) -> Callable[[Any], str | None]:
    def check(result: torch.Tensor) -> str | None:
        x64 = x.detach().double().clone().requires_grad_(x.requires_grad)
        wanted = twin(x64)
        complaint = difference(result, wanted, allowed)
        if complaint or not result.numel():
            return complaint
        for (name, mine), other in zip(module.named_buffers(), twin.buffers(), strict=True):
            complaint = complaint or difference(mine, other, max(allowed, 1e-4), name)
        seed = torch.randn_like(wanted)
        result.backward(seed.to(result.dtype))
        wanted.backward(seed)
        pairs = [("x", x.grad, x64.grad)] if x.requires_grad else []
        both = zip(module.named_parameters(), twin.parameters(), strict=True)
        pairs += [(name, mine.grad, other.grad) for (name, mine), other in both]
        for name, own, other in pairs:
            if own is None or other is None:
                complaint = complaint or (None if own is other else f"gradient of {name}: {own is None}")
            else:
                scale = max(other.norm().item() / max(other.numel(), 1) ** 0.5, 1e-3)
                complaint = complaint or difference(own / scale, other / scale, of_gradient, f"gradient of {name}")
        return complaint

    return check


def _sizes(draw: Draw, least: int = 1) -> tuple[int, int, int]:
    h, w = (max(draw.one((1, 2, 3, 5, 8, 9, 16)), least) for _ in range(2))
    n = draw.one((1, 2, 3))
    return (n if n * h * w > 1 else 2), h, w


@target("nn.ConvModule", 150)
def conv_module(draw: Draw) -> Case:
    c, k = draw.one((1, 3, 8, 16)), draw.one((1, 4, 8))
    sizes = c, k, draw.one((1, 3, 5)), draw.one((1, 1, 2))
    options = {name: draw.chance(0.6) for name in ("bias", "bn", "relu")}
    if draw.chance(0.3):
        arguments = {
            "in_channels": Arg(c, Int(1)),
            "out_channels": Arg(k, Int(1)),
            "kernel_size": Arg(sizes[2], Int(1)),
            "stride": Arg(sizes[3], Int(1)),
        } | {name: Arg(value, Flag()) for name, value in options.items()}
        return call(draw, hgfast.nn.ConvModule, arguments)
    n, h, w = _sizes(draw)
    n += n * h * w < 3
    stride = sizes[3]
    h, w = (max(side, stride + 1 if n == 1 else 1) for side in (h, w))
    module, twin = hgfast.nn.ConvModule(*sizes, **options), reference.ConvModule(*sizes, **options)
    return forward(draw, module, twin, (n if h > stride else max(n, 2), c, h, w), {2: 1, 3: 1})


@target("nn.BasicBlock", 80)
def basic_block(draw: Draw) -> Case:
    c, k = draw.one((1, 4, 8, 16)), draw.one((4, 8))
    stride = draw.one((1, 1, 2))
    if draw.chance(0.3):
        arguments = {"in_channels": Arg(c, Int(1)), "out_channels": Arg(k, Int(1)), "stride": Arg(stride, Int(1))}
        return call(draw, hgfast.nn.BasicBlock, arguments)
    n, h, w = _sizes(draw, least=3)
    module, twin = hgfast.nn.BasicBlock(c, k, stride), reference.BasicBlock(c, k, stride)
    return forward(draw, module, twin, (n, c, h, w), {2: 1, 3: 1})


@target("nn.Bottleneck", 80)
def bottleneck(draw: Draw) -> Case:
    c, k = draw.one((2, 4, 8, 16)), draw.one((2, 4, 8, 16))
    if draw.chance(0.3):
        arguments = {"in_channels": Arg(c, Int(1)), "out_channels": Arg(k, Int(2))}
        return call(draw, hgfast.nn.Bottleneck, arguments)
    n, h, w = _sizes(draw, least=2)
    return forward(draw, hgfast.nn.Bottleneck(c, k), reference.Bottleneck(c, k), (n, c, h, w), {2: 1, 3: 1})


@target("nn.HourglassModule", 30)
def hourglass(draw: Draw) -> Case:
    depth = draw.one((1, 2))
    channels, blocks = [4, 8, 6][: depth + 1], [1, 2, 1][: depth + 1]
    if draw.chance(0.3):
        arguments = {
            "depth": Arg(depth, Int(1)),
            "stage_channels": Arg(channels, Ints(None, 1)),
            "stage_blocks": Arg(blocks, Ints(None, 0)),
        }
        arguments["depth"].fine = ("numpy int",)
        return call(draw, hgfast.nn.HourglassModule, arguments)
    n, h, w = _sizes(draw, least=8)
    module, twin = (
        hgfast.nn.HourglassModule(depth, channels, blocks),
        reference.HourglassModule(depth, channels, blocks),
    )
    return forward(draw, module, twin, (n, 4, h, w), {2: 5, 3: 5})


@target("nn.NewellHourglass", 30)
def newell_hourglass(draw: Draw) -> Case:
    depth, channels, increase = draw.one((1, 2)), draw.one((4, 8)), draw.one((0, 4))
    if draw.chance(0.3):
        arguments = {
            "depth": Arg(depth, Int(1)),
            "channels": Arg(channels, Int(2)),
            "increase": Arg(increase, Int(2 - channels)),
        }
        return call(draw, hgfast.nn.NewellHourglass, arguments)
    n, h, w = draw.one((1, 2)), *(draw.one((8, 12, 16)) for _ in range(2))
    sizes = depth, channels, increase
    module, twin = hgfast.nn.NewellHourglass(*sizes), reference.NewellHourglass(*sizes)
    return forward(draw, module, twin, (n, channels, h, w), {2: 4, 3: 4})


@target("nn.UpsampleAdd", 150)
def upsample_add(draw: Draw) -> Case:
    if draw.chance(0.1):
        return call(draw, hgfast.nn.UpsampleAdd, {"inplace": Arg(False, Flag())})
    n, c, h, w = draw.maps(empty=0.0)
    dtype, grad = draw.dtype(), draw.chance(0.5)
    module = hgfast.nn.UpsampleAdd(inplace=draw.chance(0.3))
    module.recompute = draw.chance(0.3)
    skip = draw.tensor(n, c, h, w, dtype=dtype, grad=grad)
    if module.inplace:
        skip = skip.contiguous().clone().detach().requires_grad_(grad)
    low = draw.tensor(n, c, *low_size(draw, h, w), dtype=dtype, grad=grad)
    arguments = {
        "skip": Arg(skip, Tensor((0, 1), tied=True)),
        "low": Arg(low, Tensor((0, 1), {2: 1, 3: 1}, tied=True)),
    }
    changed = ("skip",) if module.inplace and not grad else ()
    return call(draw, module, arguments, against(merged, values_of(arguments), "upsample_add", changed=changed))


@target("nn.BatchNormAct", 200)
def batch_norm_act(draw: Draw) -> Case:
    c = draw.one((1, 4, 16))
    if draw.chance(0.3):
        arguments = {
            "num_features": Arg(c, Int(1)),
            "eps": Arg(1e-5, Number()),
            "momentum": Arg(0.1, Number(optional=True)),
            "affine": Arg(draw.chance(0.5), Flag()),
            "track_running_stats": Arg(draw.chance(0.5), Flag()),
            "relu": Arg(draw.chance(0.5), Flag()),
        }
        return call(draw, hgfast.nn.BatchNormAct, arguments)
    n, h, w = draw.one((2, 3)), draw.one((2, 5, 8)), draw.one((2, 5, 8))
    module = hgfast.nn.BatchNormAct(c, relu=draw.chance(0.5), affine=draw.chance(0.8))
    module.train(draw.chance(0.5))
    with_residual = draw.chance(0.5)
    fixed = (0, 1, 2, 3) if with_residual else (1,)
    x = draw.tensor(n, c, h, w, grad=draw.chance(0.5))
    arguments = {"x": Arg(x, Tensor(fixed))}
    if with_residual:
        arguments["residual"] = Arg(draw.tensor(n, c, h, w), Tensor((0, 1, 2, 3), tied=True, optional=True))
    twin = nn.BatchNorm2d(c, affine=module.affine).double().train(module.training)
    relu = module.relu

    def expected(x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        y = twin(x) if residual is None else twin(x) + residual
        return y.relu() if relu else y

    return call(draw, module, arguments, against(expected, values_of(arguments), "default", gradient=False))


@target("nn.HeatmapDecoder", 150)
def heatmap_decoder(draw: Draw) -> Case:
    arguments = mirrored(draw)
    n, k = arguments["heatmaps"].value.shape[:2]
    del arguments["shift"]
    arguments["flipped"].kind = dataclasses.replace(arguments["flipped"].kind, optional=True)  # type: ignore[type-var]
    indices = arguments.pop("flip_indices").value
    if draw.chance(0.5):
        made = {
            "method": Arg(draw.one(("quarter", "dark", "soft")), Choice()),
            "blur_kernel_size": Arg(draw.one((1, 11)), Int(1)),
            "flip_indices": Arg(indices, Ints(None, 0, optional=True)),
            "shift": Arg(draw.one((None, True, False)), Flag(optional=True)),
            "temperature": Arg(1.0, Number(above=0)),
            "window": Arg(draw.one((None, 2)), Int(0, optional=True)),
            "to_input": Arg(torch.eye(3)[:2] * 4, Tensor((0, 1), alone=True, optional=True)),
        }
        return call(draw, hgfast.nn.HeatmapDecoder, made)
    method = draw.one(("argmax", "quarter", "newell"))
    module = hgfast.nn.HeatmapDecoder(method, flip_indices=indices, to_input=torch.eye(3)[:2] * 4)
    if draw.chance(0.5):
        arguments["inverse_affine"] = affine(draw, n)
    values = values_of(arguments)
    maps = values["heatmaps"]
    inverse = values.get("inverse_affine")
    outer = torch.eye(3, dtype=torch.float64)[:2] if inverse is None else inverse.double().reshape(-1, 2, 3)

    def expect(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        both = maps.to(dtype), values["flipped"].to(dtype)
        points, scores = reference.decode_flip(*both, indices, method != "newell", None, method, 11)
        points = points.double() * 4
        linear, offset = outer[..., None, :, :2], outer[..., None, :, 2]
        return ((linear * points[..., None, :]).sum(-1) + offset).to(dtype), scores

    return call(draw, module, arguments, lambda result: same_points(result, expect, maps.dtype))
