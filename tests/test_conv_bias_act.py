"""conv_bias_act: every algorithm and epilogue against float64, gradients, fallbacks, packing, bad input."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hgfast import _native, reference
from hgfast.ops import conv_bias_act, explain
from hgfast.ops._conv_native import ConvShape, pack, query
from tests.conv_calls import FLOAT_ALGORITHMS, double, make, native
from tests.tolerances import assert_close, relative_error

SIZES = [1, 2, 3, 5, 7, 16, 33, 64]
WIDTHS = [8, 16, 24, 64, 128, 256, 384, 512]


def check(arguments: dict[str, Any]) -> None:
    kind = "conv_bias_act winograd" if arguments["weight"].shape[-1] == 3 else "conv_bias_act"
    if _native.on_cuda(arguments["x"]):
        kind = "conv tf32"
    assert_close(kind, conv_bias_act(**arguments), reference.conv_bias_act(**double(arguments)))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("h", "w"), list(zip(SIZES, [16, 7, 64, 1, 33, 3, 5, 2], strict=True)))
def test_sizes(h: int, w: int, stride: int, device: str) -> None:
    for n, extras in itertools.product((1, 3), ("", "r", "ru", "ol")):
        check(make(n, h, w, 24, 40, 3, stride, extras, device))


@pytest.mark.parametrize("c", WIDTHS)
def test_widths(c: int, device: str) -> None:
    for k, (kernel, stride) in zip(WIDTHS, itertools.cycle([(3, 1), (1, 1), (3, 2), (1, 2)]), strict=False):
        check(make(2, 5, 6, c, k, kernel, stride, "r", device))


@pytest.mark.parametrize(("c", "k"), [(1, 1), (3, 17), (5, 128), (17, 33)])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (1, 1), (3, 1), (3, 2), (5, 3)])
def test_odd_widths_and_kernels(c: int, k: int, kernel: int, stride: int, device: str) -> None:
    for h, w in ((1, 1), (4, 9), (20, 13)):
        check(make(2, h, w, c, k, kernel, stride, "rn", device))


@pytest.mark.parametrize(("kernel", "c"), [(7, 3), (3, 7)])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 3), (3, 2), (5, 31), (33, 64), (64, 33)])
def test_stems(h: int, w: int, kernel: int, c: int, device: str) -> None:
    """Kernel rows of 21 numbers, which the CPU reads in a copy of the image with a border."""
    for n, stride, extras in itertools.product((1, 3), (1, 2), ("l", "rno")):
        check(make(n, h, w, c, 20, kernel, stride, extras, device))


@pytest.mark.parametrize(("algorithm", "stride"), FLOAT_ALGORITHMS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_cpu_algorithm(algorithm: int, stride: int, threads: int) -> None:
    for extra, second in itertools.product((False, True), repeat=2):
        out, expected = native(algorithm, stride, threads, extra, second)
        assert_close("conv_bias_act" if algorithm == 1 else "conv_bias_act winograd", out, expected)


@pytest.mark.parametrize(("c", "side"), [(256, 64), (384, 16), (128, 33)])
def test_winograd_loses_at_most_a_digit(c: int, side: int) -> None:
    """At the sizes of the networks: at most ten times the error of the direct algorithm."""
    a = make(1, side, side, c, c, extras="nl")
    exact, lib = reference.conv_bias_act(**double(a)), _native.library("cpu")
    sizes, errors = ConvShape(1, side, side, c, c, 3, 1), []
    for algorithm in (1, 2, 3, 4):
        needs = query(lib, sizes, 1, algorithm)
        packed, y = pack(lib, sizes, needs, a["weight"], None, 1), torch.empty_like(a["x"])
        workspace = torch.empty(needs.workspace_bytes, dtype=torch.uint8)
        addresses = [_native.ptr(t) for t in (a["x"], packed, None, None, None, None, y, None, None, None)]
        lib.conv(sizes.native(lib, algorithm), *addresses, 0, _native.ptr(workspace), needs.workspace_bytes, 1)
        errors.append(relative_error(y, exact))
    assert errors[0] <= 2e-6 and max(errors) <= 10 * errors[0]


def test_native_refuses_what_does_not_fit() -> None:
    lib, sizes = _native.library("cpu"), ConvShape(1, 4, 4, 8, 8, 3, 2)
    with pytest.raises(ValueError, match="algorithm 3 does not fit a 3x3 kernel of stride 2"):
        query(lib, sizes, 1, algorithm=3)
    with pytest.raises(ValueError, match="workspace must have"):
        lib.conv(sizes.native(lib), *[0] * 10, 0, 0, 0, 1)


@pytest.mark.parametrize("extras", ["", "r", "ru", "rol", "n"])
def test_gradient(extras: str, device: str) -> None:
    a = double(make(2, 5, 6, 3, 4, 3, 2, extras, device))
    names = [name for name, value in a.items() if isinstance(value, Tensor)]
    tensors = [a[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(lambda *t: conv_bias_act(**{**a, **dict(zip(names, t, strict=True))}), tensors)


def test_kernel_has_the_same_gradient(device: str) -> None:
    a = make(2, 6, 7, 16, 24, 3, 1, "ru", device)
    tensors = [value.requires_grad_() for value in a.values() if isinstance(value, Tensor)]
    ours = torch.autograd.grad(conv_bias_act(**a).sin().sum(), tensors)
    theirs = torch.autograd.grad(reference.conv_bias_act(**a).sin().sum(), tensors)
    tolerance = 1e-2 if _native.on_cuda(a["x"]) else 1e-3  # tf32
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def _through_numpy(weight: Tensor) -> None:
    values = weight.detach().numpy()
    values[0] *= 2


CHANGES: list[Callable[[Tensor], Any]] = [
    lambda weight: weight.mul_(2),
    lambda weight: weight.data.mul_(2),
    lambda weight: weight.data.copy_(weight.data.flip(0)),
    lambda weight: setattr(weight, "data", weight.data * 2),
    _through_numpy,
]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_packed_again(change: Callable[[Tensor], Any]) -> None:
    a = make(1, 8, 8, 16, 16)
    weight = torch.nn.Parameter(a["weight"])
    conv_bias_act(**{**a, "weight": weight})
    for _ in range(2):
        with torch.no_grad():
            change(weight)
        check({**a, "weight": weight.detach()})
        assert_close(
            "conv_bias_act winograd",
            conv_bias_act(**{**a, "weight": weight}).detach(),
            reference.conv_bias_act(**double({**a, "weight": weight.detach()})),
        )


def test_other_dtypes_and_sizes_take_the_reference() -> None:
    a = make(1, 4, 4, 8, 8, extras="r")
    half = {name: value.half() if isinstance(value, Tensor) else value for name, value in a.items()}
    arguments = [half[name] for name in ("x", "weight", "bias", "stride", "residual", "relu", "upsample_to")]
    assert explain("conv_bias_act", *arguments).startswith("reference: conv: the CPU kernels take float32 and bfloat16")
    assert torch.equal(conv_bias_act(**half), reference.conv_bias_act(**half))
    a["upsample_to"] = torch.randn(1, 8, 5, 13)
    assert_close("conv_bias_act", conv_bias_act(**a), reference.conv_bias_act(**double(a)))
    empty = make(0, 4, 4, 8, 8)
    assert conv_bias_act(**empty).shape == (0, 8, 4, 4)


def test_nan_passes_through() -> None:
    a = make(1, 4, 4, 16, 16, kernel=1)
    a["x"][0, 3, 1, 2] = float("nan")
    out = conv_bias_act(**a)
    assert out[0, :, 1, 2].isnan().all() and out.isnan().sum() == 16


GOOD = make(2, 4, 4, 3, 8, extras="ru")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [1]}, TypeError, "x must be a torch.Tensor, got list"),
        ({"x": torch.zeros(2, 3, 4)}, ValueError, "x must have 4 dimensions, got 3"),
        ({"weight": torch.zeros(8, 3, 2, 2)}, ValueError, "weight must be (K, C, r, r) with r odd"),
        ({"weight": torch.zeros(8, 4, 3, 3)}, ValueError, "weight must have shape (8, 3, 3, 3) (C of x)"),
        ({"weight": GOOD["weight"].half()}, TypeError, "weight must have x's dtype"),
        ({"bias": torch.zeros(7)}, ValueError, "bias must have shape (8,)"),
        ({"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ({"stride": 1.0}, TypeError, "stride must be an int, got float"),
        ({"residual": torch.zeros(2, 8, 4, 3)}, ValueError, "residual must have shape (2, 8, 4, 4)"),
        ({"upsample_to": torch.zeros(2, 7, 8, 8)}, ValueError, "upsample_to must start with N, K = (2, 8)"),
        ({"residual": torch.zeros(2, 8, 4, 4, device="meta")}, ValueError, "residual must be on x's device cpu"),
    ],
)
def test_bad_input(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        conv_bias_act(**{**GOOD, **change})
