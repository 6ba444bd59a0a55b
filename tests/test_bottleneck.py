"""bottleneck: the kernel where there is one, torch's operators elsewhere, against float64; bad input."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from hgfast import _native, reference
from hgfast.ops import _bottleneck_native, bottleneck, explain
from hgfast.ops._bottleneck_native import BottleneckShape
from tests.bottleneck_cases import NARROW, Case, draw, run
from tests.tolerances import HALF_TYPES, assert_close


def op_arguments(dtype: torch.dtype = torch.float16, device: str = "cpu", merged: bool = True) -> dict[str, Any]:
    """Arguments of the public op."""
    a = draw(Case(2, 5, 9, 32, 16, "u" if merged else "", dtype))
    names = ("x", "weight1", "bias1", "weight2", "bias2", "weight3", "bias3")
    found = {name: a[name].to(device) for name in names} | {"scale": a["scale1"], "shift": a["shift1"]}
    found["x"] = a["x"].permute(0, 3, 1, 2).to(device)
    if merged:
        found["upsample_to"] = a["upsample_to"].permute(0, 3, 1, 2).to(device)
    return {name: value.to(device) for name, value in found.items()}


def in_float64(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value.double() for name, value in arguments.items()}


@pytest.mark.parametrize("dtype", [torch.float32, *HALF_TYPES])
@pytest.mark.parametrize("merged", [False, True])
def test_public_op(merged: bool, dtype: torch.dtype, device: str) -> None:
    """The kernel where there is one, torch's operators elsewhere; changed weights are packed again."""
    a = op_arguments(dtype, device, merged)
    for _ in range(2):
        out = bottleneck(**a)
        assert out.is_contiguous(memory_format=torch.channels_last) and out.dtype == dtype
        assert_close("bottleneck", out, reference.bottleneck(**in_float64(a)), reference.bottleneck(**a))
        a["weight2"].mul_(-2)
    has_kernel = _native.on_cuda(a["x"]) and dtype != torch.float32
    assert explain("bottleneck", *ordered(a)).startswith("kernel" if has_kernel else "reference")


def ordered(arguments: dict[str, Any]) -> list[Any]:
    names = ("x", "scale", "shift", "weight1", "bias1", "weight2", "bias2", "weight3", "bias3", "upsample_to")
    return [arguments.get(name) for name in names]


def test_public_op_takes_any_layout_and_place(device: str) -> None:
    """Contiguous tensors that start anywhere in their storage; sizes that are not half of upsample_to's."""
    a = op_arguments(device=device)
    expected64 = reference.bottleneck(**in_float64(a))
    for name, value in a.items():
        a[name] = torch.cat([value.new_zeros(1), value.contiguous().flatten()])[1:].view(value.shape)
    assert_close("bottleneck", bottleneck(**a), expected64, reference.bottleneck(**a))
    a["upsample_to"] = a["upsample_to"][..., :7]
    assert explain("bottleneck", *ordered(a)).startswith("reference: ")
    assert_close("bottleneck", bottleneck(**a), reference.bottleneck(**in_float64(a)), reference.bottleneck(**a))
    assert bottleneck(**{**a, "x": a["x"][:0], "upsample_to": a["upsample_to"][:0]}).shape == (0, 32, 10, 7)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": 3}, TypeError, "x must be a torch.Tensor, got int"),
        ({"x": torch.zeros(2, 32, 5)}, ValueError, "x must have 4 dimensions, got 3"),
        ({"weight2": torch.zeros(16, 16, 1, 1).half()}, ValueError, r"weight2 must have shape \(16, 16, 3, 3\)"),
        ({"weight3": torch.zeros(32, 16, 1, 1)}, TypeError, "weight3 must have x's dtype"),
        ({"scale": torch.zeros(31)}, ValueError, r"scale must have shape \(32,\)"),
        ({"bias1": torch.zeros(16).double()}, TypeError, "bias1"),
        ({"upsample_to": torch.zeros(1, 32, 10, 18).half()}, ValueError, r"upsample_to must start with N, C = \(2, 32"),
        ({"shift": torch.zeros(32, requires_grad=True)}, ValueError, "has no gradient; use hgfast.nn.Bottleneck"),
    ],
)
def test_public_op_bad_arguments(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bottleneck(**{**op_arguments(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": 9}, "there is no algorithm 9"),
        ({"m": 136}, "does not take this shape, dtype or device: n 1, h 4, w 4, c 64, m 136"),
        ({"m": 64}, "algorithm 1 does not take"),
        ({"c": 20}, "does not take this shape"),
        ({"dtype": torch.float32}, "does not take this shape"),
        ({"n": 1 << 22, "h": 64}, "does not take this shape"),
    ],
)
def test_refused_shapes(change: dict[str, Any], message: str, machine: str) -> None:
    case = dataclasses.replace(Case(1, 4, 4, 64, 72, algorithm=1), **change)
    with pytest.raises(ValueError, match=message):
        _bottleneck_native.query(_native.library(machine), case.sizes, 0, case.algorithm)


def test_refused_tensors(machine: str) -> None:
    case = Case(1, 4, 4, 32, 16, algorithm=NARROW["mma"])
    arguments = draw(case)
    with pytest.raises(ValueError, match="y must not be x"):
        run(case, arguments, machine, in_place="x")
    x = arguments["x"]
    arguments["x"] = torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)
    with pytest.raises(ValueError, match="start at a multiple of 16 bytes"):
        run(case, arguments, machine)


def test_choice(machine: str) -> None:
    """Large levels run as one kernel, those that leave most of the card idle as three split convolutions."""
    lib: Any = _native.library(machine)

    def query(n: int, side: int, c: int, m: int, dtype: torch.dtype = torch.bfloat16) -> Any:
        return _bottleneck_native.query(lib, BottleneckShape(n, side, side, c, m, dtype=dtype), 0)

    for c, m, dtype in ((256, 128, torch.float32), (512, 256, torch.float16), (20, 16, torch.float16)):
        assert query(64, 64, c, m, dtype) is None
    large, narrow, small = query(64, 64, 256, 128), query(64, 64, 128, 64), query(1, 4, 256, 128)
    assert large.pays and narrow.pays and not small.pays
    if machine == "cpu":  # a Hopper's shared memory; other cards have less
        assert large.kernel == "wgmma bottleneck 8x16x128" and narrow.kernel == "wgmma bottleneck 8x16x64"
