"""The gradients that ATen makes: none is asked for in the forms that oneDNN writes out of bounds or not at all."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import hgfast
from hgfast import _switches, ops, reference

STRIDES = [2, 3]
module: Any = importlib.import_module("hgfast.reference.conv2d")  # the package has a function of that name


def test_they_are_asked_for_in_one_place() -> None:
    for path in Path(hgfast.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert path.samefile(module.__file__) == ("convolution_backward(" in text), path
        assert "conv2d_weight(" not in text, path  # torch.nn.grad's


def fused_block(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    kernel = weight.shape[-1]
    block = hgfast.nn.ConvModule(x.shape[1], weight.shape[0], kernel, stride, bn=False, relu=False)
    block.conv.weight = torch.nn.Parameter(weight)
    return block(x)


WAYS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "conv2d": lambda x, weight, stride: ops.conv2d(x, weight, None, stride),
    "conv_bias_act": lambda x, weight, stride: ops.conv_bias_act(x, weight, None, stride, relu=False),
    "fused module": fused_block,
}


@pytest.mark.parametrize("disabled", [False, True])
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("way", WAYS)
def test_strided_1x1_weight_gradients(way: str, stride: int, disabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_switches, "disabled", frozenset(["conv2d", "conv_bias_act"] if disabled else []))
    asked, by_aten = [], module._aten_gradients
    monkeypatch.setattr(module, "_aten_gradients", lambda *args: asked.append(args) or by_aten(*args))
    x = torch.randn(2, 4, 9, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(6, 4, 1, 1, requires_grad=True)
    y = WAYS[way](x, weight, stride)
    grad = torch.randn_like(y)
    leaves = x, weight if way != "fused module" else y.grad_fn.next_functions[1][0].variable
    got = torch.autograd.grad(y, leaves, grad)
    assert not any(step > 1 and needs[1] for *_, step, needs in asked)
    assert not disabled or any(needs[1] for *_, needs in asked)
    exact = torch.nn.functional.conv2d(x.double(), weight.double(), None, stride)
    for a, b in zip(got, torch.autograd.grad(exact, (x, weight), grad.double()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("needs", [(True, True, True), (False, True, False), (True, False, True), (False, True, True)])
@pytest.mark.parametrize("stride", [1, *STRIDES])
@pytest.mark.parametrize("kernel", [1, 3])
def test_gradients_are_torchs(kernel: int, stride: int, needs: tuple[bool, bool, bool]) -> None:
    x = torch.randn(2, 8, 7, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 8, kernel, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = reference.conv2d(x, weight, bias, stride)
    grad = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, weight, bias), grad)
    for want, got, right in zip(
        needs, reference.conv2d_gradients(grad, x, weight, stride, needs), expected, strict=True
    ):
        assert (got is not None) == want
        if want:
            torch.testing.assert_close(got, right)


@pytest.mark.parametrize(
    "call", [reference.conv2d, ops.conv2d, lambda x, w, b, s: ops.conv_bias_act(x, w, b, s, relu=False)]
)
@pytest.mark.parametrize(("stride", "kernel", "width"), [(2, 3, 1), (2, 3, 2), (3, 5, 3), (3, 7, 2), (2, 1, 2)])
def test_a_result_of_one_column_in_bfloat16(call: Callable, stride: int, kernel: int, width: int) -> None:
    """oneDNN's on AMX is what memory held before."""
    x, weight, bias = torch.randn(2, 5, 13, width), torch.randn(8, 5, kernel, kernel) / 10, torch.randn(8)
    for layout in (torch.contiguous_format, torch.channels_last):
        half = [value.bfloat16() for value in (x, weight, bias)]
        half[0] = half[0].contiguous(memory_format=layout)
        for _ in range(4):
            torch.full((50000,), 3e38)
        expected = reference.conv2d(*(value.double() for value in half), stride)
        torch.testing.assert_close(call(*half, stride).double(), expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("stride", "kernel", "width"), [(2, 3, 1), (3, 7, 2), (3, 5, 1), (3, 1, 1)])
def test_a_stride_wider_than_the_map_in_bfloat16(way: str, stride: int, kernel: int, width: int) -> None:
    """oneDNN's gradient of the weight is what memory held before."""
    x, weight = torch.randn(2, 8, 5, width), torch.randn(8, 8, kernel, kernel)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        leaves = [value.to(dtype).contiguous(memory_format=torch.channels_last) for value in (x, weight)]
        y = WAYS[way](leaves[0].requires_grad_(), leaves[1].requires_grad_(), stride)
        if way == "fused module":
            leaves[1] = y.grad_fn.next_functions[1][0].variable
        for _ in range(4):
            torch.full((50000,), 3e38)
        found.append([grad.float() for grad in torch.autograd.grad(y.sum(), leaves)])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=0.05, atol=0.2)
