"""The ops on activations: merge, pooling, BatchNorm, convolutions, and the whole block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from hgfast import ops, reference
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.compare import against
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Flag, Int, Number
from tests.fuzz.tensor_kinds import Tensor


def values_of(arguments: Mapping[str, Arg]) -> dict[str, Any]:
    return {name: argument.value for name, argument in arguments.items()}


def relu_margin(reference: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """1 where the value before the last ReLU is clear of 0, so that no rounding switches the gradient over."""

    def keep(**arguments: Any) -> torch.Tensor:
        before = reference(**(arguments | {"relu": False}))
        return (before.abs() > 0.02).double()

    return keep


def low_size(draw: Draw, h: int, w: int) -> tuple[int, int]:
    """The size of the lower branch: mostly half, rounded up."""
    return (-(-h // 2), -(-w // 2)) if draw.chance(0.8) else (draw.int(1, h + 2), draw.int(1, w + 2))


def merged(skip: torch.Tensor, low: torch.Tensor, out: Any = None) -> torch.Tensor:
    return skip + F.interpolate(low, size=skip.shape[-2:]) if skip.numel() else skip.clone()


@target("ops.upsample_add", 250)
def upsample_add(draw: Draw) -> Case:
    n, c, h, w = draw.maps()
    dtype, grad = draw.dtype(), draw.chance(0.4)
    skip = draw.tensor(n, c, h, w, dtype=dtype, grad=grad)
    low = draw.tensor(n, c, *low_size(draw, h, w), dtype=dtype, grad=grad)
    arguments = {
        "skip": Arg(skip, Tensor((0, 1), tied=True)),
        "low": Arg(low, Tensor((0, 1), {2: 1, 3: 1} if skip.numel() else {}, tied=True)),
    }
    changed: tuple[str, ...] = ()
    if not grad and draw.chance(0.3):
        memory_format = draw.one((torch.channels_last, torch.contiguous_format))
        out = torch.empty(n, c, h, w, dtype=dtype, memory_format=memory_format)
        arguments["out"] = Arg(out, Tensor((0, 1, 2, 3), tied=True, optional=True))
        arguments["skip"].kind = Tensor((0, 1, 2, 3), tied=True)
        changed = ("out",)
    check = against(merged, values_of(arguments), "upsample_add", changed=changed)
    return call(draw, ops.upsample_add, arguments, check)


def pooled(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 2) if x.numel() else x[..., : x.shape[2] // 2, : x.shape[3] // 2]


@target("ops.max_pool", 150)
def max_pool(draw: Draw) -> Case:
    n, c, h, w = draw.maps()
    x = draw.tensor(n, c, max(h, 2), max(w, 2), dtype=draw.dtype(), grad=draw.chance(0.5))
    arguments = {"x": Arg(x, Tensor((), {2: 2, 3: 2}, alone=True))}
    return call(draw, ops.max_pool, arguments, against(pooled, {"x": x}, "max_pool"))


@target("ops.max_pool_branch", 150)
def max_pool_branch(draw: Draw) -> Case:
    n, c, h, w = draw.maps()
    x = draw.tensor(n, c, max(h, 2), max(w, 2), dtype=draw.dtype(), grad=draw.chance(0.5))
    arguments = {"x": Arg(x, Tensor((), {2: 2, 3: 2}, alone=True))}
    check = against(lambda x: (x * 1, pooled(x)), {"x": x}, "max_pool")
    return call(draw, ops.max_pool_branch, arguments, check)


@target("ops.batch_norm_act", 250)
def batch_norm_act(draw: Draw) -> Case:
    n, c, h, w = draw.maps(empty=0.0)
    training = draw.chance(0.5)
    if training and n * h * w == 1:
        n = 2
    dtype = draw.dtype()
    grad = draw.chance(0.5)
    x = draw.tensor(n, c, h, w, dtype=dtype, grad=grad)
    if dtype in (torch.float16, torch.bfloat16) and draw.chance(0.5):
        dtype = torch.float32  # of the parameters
    fixed = (0, 1, 2, 3) if draw.chance(0.5) else (1,)
    arguments = {"x": Arg(x, Tensor(fixed))}
    channel = Tensor((0,), optional=True)
    for name in ("weight", "bias"):
        value = draw.tensor(c, dtype=dtype, grad=grad and draw.chance(0.7)) if draw.chance(0.8) else None
        arguments[name] = Arg(value, channel)
    running = not training or draw.chance(0.5)
    needed = Tensor((0,), optional=False)
    for name in ("running_mean", "running_var"):
        value = draw.tensor(c, dtype=dtype, plain=True) if running else None
        arguments[name] = Arg(value, needed if running else Tensor((0,), optional=True))
    arguments |= {
        "training": Arg(training, Flag()),
        "momentum": Arg(draw.float(0, 1), Number()),
        "eps": Arg(draw.one((1e-5, 1e-3, 0.1)), Number()),
    }
    if len(fixed) == 4:
        residual = draw.tensor(n, c, h, w, dtype=x.dtype, grad=grad and draw.chance(0.7))
        arguments["residual"] = Arg(residual, Tensor((0, 1, 2, 3), tied=True, optional=True))
    arguments["relu"] = Arg(draw.chance(0.5), Flag())
    arguments["recompute"] = Arg(draw.chance(0.3), Flag())
    others = (argument.value for name, argument in arguments.items() if name != "x")
    alone = not any(isinstance(value, torch.Tensor) for value in others)
    arguments["x"] = Arg(x, Tensor(fixed, alone=alone))
    values = values_of(arguments)
    allowed, changed = 0.0 if _constant(values["x"]) else 1e-3, ("running_mean", "running_var")
    check = against(_batch_norm, values, "batch_norm_act x_grad", gradient=allowed, keep=_norm_margin, changed=changed)
    return call(draw, ops.batch_norm_act, arguments, check)


def _constant(x: torch.Tensor) -> bool:
    """A channel of (nearly) equal values: what is divided by its deviation is noise."""
    wide = x.detach().double()
    return bool((wide.var((0, 2, 3), unbiased=False) < 1e-2).any())


def _batch_norm(**a: Any) -> torch.Tensor:
    mean, var = (None, None) if a["training"] else (a["running_mean"], a["running_var"])
    wide = {name: a[name] for name in ("weight", "bias")}
    y = F.batch_norm(a["x"], mean, var, **wide, training=a["training"], momentum=0.0, eps=a["eps"])
    y = y if a.get("residual") is None else y + a["residual"]
    return F.relu(y) if a["relu"] else y


_norm_margin = relu_margin(_batch_norm)


def convolution(draw: Draw) -> tuple[dict[str, Arg], dict[str, int]]:
    """x, weight, bias and stride, and the sizes N, K, P, Q of the result."""
    n, c, h, w = draw.maps()
    c = max(c, 1)
    k, r, stride = draw.one((1, 2, 5, 8, 16, 24)), draw.one((1, 1, 3, 3, 3, 5, 7)), draw.one((1, 1, 1, 2, 2, 3))
    dtype, grad = draw.dtype(), draw.chance(0.4)
    bias = draw.tensor(k, dtype=dtype, grad=grad) if draw.chance(0.7) else None
    weight = draw.tensor(k, c, r, r, dtype=dtype).div(c**0.5 * r).requires_grad_(grad)
    arguments = {
        "x": Arg(draw.tensor(n, c, h, w, dtype=dtype, grad=grad), Tensor((1,), tied=True)),
        "weight": Arg(weight, Tensor((0, 1, 2, 3) if bias is not None else (1, 2, 3), tied=True)),
        "bias": Arg(bias, Tensor((0,), tied=True, optional=True)),
        "stride": Arg(stride, Int(1)),
    }
    return arguments, {"n": n, "k": k, "p": -(-h // stride), "q": -(-w // stride)}


@target("ops.conv2d", 250)
def conv2d(draw: Draw) -> Case:
    arguments, _ = convolution(draw)
    check = against(reference.conv2d, values_of(arguments), "conv2d")
    return call(draw, ops.conv2d, arguments, check if arguments["x"].value.numel() else lambda result: None)


@target("ops.conv_bias_act", 250)
def conv_bias_act(draw: Draw) -> Case:
    arguments, s = convolution(draw)
    dtype = arguments["x"].value.dtype
    grad = arguments["x"].value.requires_grad
    if draw.chance(0.5):
        residual = draw.tensor(s["n"], s["k"], s["p"], s["q"], dtype=dtype, grad=grad)
        arguments["residual"] = Arg(residual, Tensor((0, 1, 2, 3), tied=True, optional=True))
        arguments["x"].kind = Tensor((0, 1), tied=True)
        arguments["weight"].kind = Tensor((0, 1, 2, 3), tied=True)
        arguments["stride"].fine = ("2^31",)
    arguments["relu"] = Arg(draw.chance(0.5), Flag())
    if draw.chance(0.4):
        size = (
            draw.int(max(2 * s["p"] - 1, 1), 2 * max(s["p"], 1)),
            draw.int(max(2 * s["q"] - 1, 1), 2 * max(s["q"], 1)),
        )
        upsample_to = draw.tensor(s["n"], s["k"], *size, dtype=dtype, grad=grad)
        arguments["upsample_to"] = Arg(upsample_to, Tensor((0, 1), tied=True, optional=True))
        arguments["x"].kind = Tensor((0, 1), {2: 1, 3: 1}, tied=True)
        arguments["weight"].kind = Tensor((0, 1, 2, 3), tied=True)
    values = values_of(arguments)
    keep = None if "upsample_to" in values else relu_margin(reference.conv_bias_act)
    check = against(
        reference.conv_bias_act, values, "conv_bias_act winograd", gradient=0.3 if keep is None else True, keep=keep
    )
    return call(draw, ops.conv_bias_act, arguments, check if values["x"].numel() else lambda result: None)


@target("ops.bottleneck", 150)
def bottleneck(draw: Draw) -> Case:
    n, c, h, w = draw.maps()
    m, dtype = draw.one((1, 3, 8, 16)), draw.dtype()
    of_vectors = dtype if draw.chance(0.5) else torch.float32
    c = max(c, 1)
    arguments = {"x": Arg(draw.tensor(n, c, h, w, dtype=dtype), Tensor((1,), tied=True))}
    for name, width in (("scale", c), ("shift", c)):
        arguments[name] = Arg(draw.tensor(width, dtype=of_vectors), Tensor((0,)))
    layers = ((m, c, 1), (m, m, 3), (c, m, 1))
    for i, (out, into, r) in enumerate(layers, 1):
        weight = draw.tensor(out, into, r, r, dtype=dtype) / (into**0.5 * r)
        arguments[f"weight{i}"] = Arg(weight, Tensor((0, 1, 2, 3), tied=True))
        arguments[f"bias{i}"] = Arg(draw.tensor(out, dtype=of_vectors), Tensor((0,)))
    if draw.chance(0.4):
        upsample_to = draw.tensor(n, c, *draw.one(((2 * h, 2 * w), (2 * h - 1, 2 * w - 1))), dtype=dtype)
        arguments["upsample_to"] = Arg(upsample_to, Tensor((0, 1), tied=True, optional=True))
        arguments["x"].kind = Tensor((0, 1), {2: 1, 3: 1}, tied=True)
    values = values_of(arguments)
    check = against(reference.bottleneck, values, "conv_bias_act", gradient=False)
    return call(draw, ops.bottleneck, arguments, check if values["x"].numel() else lambda result: None)
