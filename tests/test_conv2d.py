"""conv2d and its gradients: all algorithms, awkward shapes, errors beside direct sums, higher derivatives, settings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from hgfast import _native, reference
from hgfast.ops import _conv_train as train
from hgfast.ops import conv2d, explain, set_winograd, winograd_enabled
from hgfast.ops._conv_choice import DIRECT, F23, F43, S23, S43, STRIDED
from hgfast.ops._conv_native import ConvShape
from tests.tolerances import assert_close, relative_error

SIZES = [1, 2, 3, 5, 7, 16, 33, 64]
ALGORITHMS = [(DIRECT, 1), (F23, 1), (F43, 1), (DIRECT, 2), (S23, 2), (S43, 2)]
NHWC, NCHW = torch.channels_last, torch.contiguous_format


def draw(*shape: int, memory_format: torch.memory_format = NHWC) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    values = torch.randn(*shape, generator=generator)
    return values.contiguous(memory_format=memory_format) if len(shape) == 4 else values


def make(n: int, h: int, w: int, c: int, k: int, kernel: int = 3, stride: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """x, weight and a gradient of the result, NHWC, the weight OIHW."""
    weight = draw(k, c, kernel, kernel, memory_format=NCHW) / (c * kernel**2) ** 0.5
    return draw(n, c, h, w), weight, draw(n, k, -(-h // stride), -(-w // stride))


def exact(x: Tensor, weight: Tensor, grad: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Result, input gradient, weight gradient in float64."""
    x, weight, grad = x.double(), weight.double(), grad.double()
    y = reference.conv2d(x, weight, None, stride)
    return y, *reference.conv2d_gradients(grad, x, weight, stride, (True, True, False))[:2]


def by_kernels(
    x: Tensor, weight: Tensor, grad: Tensor, stride: int, algorithm: int, threads: int = 1
) -> list[Tensor | None]:
    """The same three by the native functions, None where an algorithm does not do it."""
    lib: Any = _native.library("cpu")
    (n, c, h, w), (k, _, kernel, _) = x.shape, weight.shape
    last = int(not weight.is_contiguous())
    y, x_grad, weight_grad = torch.empty_like(grad), torch.empty_like(x), torch.empty_like(weight)
    shape = ConvShape(n, h, w, c, k, kernel, stride).native(lib, algorithm)
    pointers = [tensor.data_ptr() for tensor in (x, weight, grad, y, x_grad, weight_grad)]
    lib.conv_train(shape, *pointers[:2], 0, 0, pointers[3], 0, last, threads)
    if stride == 1:
        turned = ConvShape(n, h, w, k, c, kernel, 1).native(lib, algorithm)
        lib.conv_train(turned, pointers[2], pointers[1], 0, 0, pointers[4], 1, last, threads)
    strided = stride == 2 and kernel in (1, 3)
    if strided:
        lib.conv_strided_grad(shape, pointers[2], pointers[1], 0, pointers[4], last, threads)
    if algorithm != S43:
        lib.conv_weight_grad(shape, pointers[0], pointers[2], pointers[5], last, threads)
    return [y, x_grad if stride == 1 or strided else None, weight_grad if algorithm != S43 else None]


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 3), (9, 8), (40, 41)])
@pytest.mark.parametrize(("c", "k"), [(3, 70), (33, 16), (64, 5)])
def test_input_gradient_of_stride_2(kernel: int, h: int, w: int, c: int, k: int) -> None:
    """It is written whole, beside an addend, also in place of that; the threads change nothing."""
    lib: Any = _native.library("cpu")
    x, weight, grad = make(2, h, w, c, k, kernel, 2)
    shape = ConvShape(2, h, w, c, k, kernel, 2).native(lib, STRIDED)
    addend = draw(2, c, h, w)
    wanted = exact(x, weight, grad, 2)[1] + addend
    results = []
    for threads in (1, 2, 7):
        out = addend.clone(memory_format=torch.preserve_format)
        lib.conv_strided_grad(shape, grad.data_ptr(), weight.data_ptr(), out.data_ptr(), out.data_ptr(), 0, threads)
        results.append(out)
    assert_close("conv2d", results[0], wanted)
    assert all(torch.equal(out, results[0]) for out in results)


def check_kernels(*args: Any) -> None:
    x, weight, grad, stride = args[:4]
    for memory_format in (NCHW, NHWC):
        weight = weight.contiguous(memory_format=memory_format)
        for out, expected in zip(by_kernels(x, weight, grad, *args[3:]), exact(x, weight, grad, stride), strict=True):
            if out is not None:
                assert_close("conv2d", out, expected)


@pytest.mark.parametrize(("algorithm", "stride"), ALGORITHMS)
@pytest.mark.parametrize(("h", "w"), list(zip(SIZES, [16, 7, 64, 1, 33, 3, 5, 2], strict=True)))
def test_sizes(h: int, w: int, algorithm: int, stride: int) -> None:
    for n, threads in ((1, 1), (3, 3)):
        check_kernels(*make(n, h, w, 24, 40, 3, stride), stride, algorithm, threads)


@pytest.mark.parametrize(("algorithm", "stride"), ALGORITHMS)
@pytest.mark.parametrize(("c", "k"), [(8, 512), (512, 9), (3, 5), (1, 1), (130, 67), (64, 65), (17, 128)])
def test_widths(c: int, k: int, algorithm: int, stride: int) -> None:
    check_kernels(*make(2, 6, 5, c, k, 3, stride), stride, algorithm, 2)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (5, 1), (7, 2), (11, 3)])
def test_other_kernels_by_the_direct_algorithm(kernel: int, stride: int) -> None:
    check_kernels(*make(2, 9, 13, 20, 33, kernel, stride), stride, DIRECT, 2)


def test_many_tiles_in_several_chunks() -> None:
    """More tiles than the panels of the weight gradient hold, so that the sums wait in memory between chunks."""
    check_kernels(*make(1, 100, 120, 70, 200), 1, F43, 2)


@pytest.mark.parametrize(("n", "h", "w", "c", "k"), [(3, 29, 17, 70, 130), (1, 41, 33, 256, 16), (1, 32, 32, 48, 8)])
@pytest.mark.parametrize("threads", [1, 3])
def test_1x1_of_many_pixels(n: int, h: int, w: int, c: int, k: int, threads: int) -> None:
    """Pixels read where they lie, if channels fill vectors; the weight gradient in slices."""
    check_kernels(*make(n, h, w, c, k, 1), 1, DIRECT, threads)


@pytest.mark.parametrize("pixels", range(1, 30))
def test_1x1_of_few_pixels(pixels: int) -> None:
    """Every number of rows that the GEMM is made for."""
    check_kernels(*make(1, 1, pixels, 64, 80, 1), 1, DIRECT, 2)


def error_ratio(n: int, h: int, c: int, k: int, stride: int) -> list[float]:
    """Errors of conv2d's three results over those of the direct sums."""
    args = (*make(n, h, h, c, k, 3, stride), stride)
    truth = exact(*args)
    x, weight, grad, _ = args
    ours = (train.forward(x, weight, None, stride), *train.backward(grad, x, weight, stride, (True, True, False))[:2])
    direct = (
        by_kernels(*args, DIRECT)[0],
        *reference.conv2d_gradients(grad, x, weight, stride, (True, True, False))[:2],
    )
    pairs = zip(ours, direct, truth, strict=True)
    return [relative_error(our, right) / relative_error(sums, right) for our, sums, right in pairs]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("h", "channels"), [(64, 32), (32, 128), (16, 384), (8, 128), (4, 64)])
def test_error_is_within_ten_times_that_of_direct_sums(h: int, channels: int, stride: int) -> None:
    forward, input_grad, weight_grad = error_ratio(2, h, channels, channels, stride)
    assert forward < 10 and input_grad < 10
    # oneDNN sums few pixels more exactly than many: there its own error is next to nothing
    assert weight_grad < (10 if h > 16 else 20)


@pytest.mark.parametrize(
    ("kernel", "stride", "h"), [(3, 1, 33), (3, 1, 7), (3, 2, 33), (1, 1, 7), (1, 2, 7), (7, 2, 9)]
)
def test_public_function(kernel: int, stride: int, h: int, device: str) -> None:
    tensors = make(2, h, h + 1, 20, 36, kernel, stride)
    x, weight, grad = (tensor.to(device) for tensor in tensors)
    bias = draw(36).to(device)
    for x_format, weight_format in itertools.product((NHWC, NCHW), repeat=2):
        leaves = [x.contiguous(memory_format=x_format), weight.contiguous(memory_format=weight_format), bias]
        leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        y = conv2d(*leaves, stride)
        grads = torch.autograd.grad(y, leaves, grad)
        truth = exact(*tensors, stride)
        assert_close("conv2d", y.cpu().detach(), truth[0] + bias.cpu().double()[:, None, None])
        assert_close("conv2d_input_grad", grads[0].cpu(), truth[1])
        assert_close("conv2d_weight_grad", grads[1].cpu(), truth[2])
        assert_close("conv2d", grads[2].cpu(), grad.cpu().double().sum((0, 2, 3)))
        assert y.is_contiguous(memory_format=NHWC) and grads[1].is_contiguous(memory_format=weight_format)


@pytest.mark.parametrize(("kernel", "stride", "h"), [(3, 1, 9), (3, 2, 9), (1, 1, 3), (5, 1, 4)])
def test_addend(kernel: int, stride: int, h: int) -> None:
    x, weight, grad = make(2, h, h, 20, 36, kernel, stride)
    y, x_grad, weight_grad = exact(x, weight, grad, stride)
    assert_close("conv2d", train.forward(x, weight, None, stride, addend=grad), y + grad.double())
    found = train.backward(grad, x, weight, stride, (True, True, True), addend=x)
    assert_close("conv2d", found[0], x_grad + x.double())
    assert_close("conv2d", found[1], weight_grad)
    assert_close("conv2d", found[2], grad.double().sum((0, 2, 3)))
    assert train.backward(grad, x, weight, stride, (False, False, False)) == (None, None, None)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1)])
def test_gradients_of_gradients(kernel: int, stride: int, device: str) -> None:
    x, weight, _ = (tensor.double().to(device).requires_grad_() for tensor in make(1, 4, 3, 2, 3, kernel, stride))
    bias = torch.randn(3, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: conv2d(*a, stride), (x, weight, bias))
    assert torch.autograd.gradgradcheck(lambda *a: conv2d(*a, stride), (x, weight, bias))


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivative_by_the_kernels(stride: int) -> None:
    x, weight, grad = make(2, 9, 8, 16, 24, 3, stride)

    def second(dtype: torch.dtype, function: Any) -> list[Tensor]:
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (x, weight)]
        first = torch.autograd.grad((function(*leaves, None, stride) ** 2).sum(), leaves, create_graph=True)
        return list(torch.autograd.grad(sum((part**2).sum() for part in first), leaves))

    for ours, truth in zip(second(torch.float32, conv2d), second(torch.float64, reference.conv2d), strict=True):
        assert_close("conv2d", ours, truth)


@pytest.mark.parametrize(("kernel", "algorithm"), [(3, F43), (1, DIRECT)])
def test_results_do_not_depend_on_threads(kernel: int, algorithm: int) -> None:
    x, weight, grad = make(2, 33, 16, 48, 72, kernel)
    one, three = (by_kernels(x, weight, grad, 1, algorithm, threads) for threads in (1, 3))
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


@pytest.fixture
def winograd_off() -> Iterator[None]:
    assert winograd_enabled()
    set_winograd(False)
    yield
    set_winograd(True)


def test_winograd_is_on() -> None:
    x, weight, grad = make(1, 16, 16, 16, 16)
    assert explain("conv2d", x, weight, None, 1) == "kernel: cpu"
    assert explain("conv2d_input_grad", grad, weight, 16, 16, 1) == "kernel: cpu"
    assert explain("conv2d_weight_grad", grad, x, 3, 1, False) == "kernel: cpu"


@pytest.mark.usefixtures("winograd_off")
def test_winograd_turned_off() -> None:
    x, weight, grad = make(2, 64, 64, 16, 16)
    assert not winograd_enabled()
    assert "Winograd is turned off" in explain("conv2d", x, weight, None, 1)
    assert "Winograd is turned off" in explain("conv2d_weight_grad", grad, x, 3, 1, False)
    assert explain("conv2d_weight_grad", grad, x, 1, 1, False) == "kernel: cpu"
    assert explain("conv2d", x, make(1, 1, 1, 16, 16, 1)[1], None, 1) == "kernel: cpu"
    assert torch.equal(conv2d(x, weight), reference.conv2d(x, weight))
    leaves = x.requires_grad_(), weight.requires_grad_()
    truth = exact(x.detach(), weight.detach(), grad, 1)[1:]
    for ours, right in zip(torch.autograd.grad(conv2d(*leaves), leaves, grad), truth, strict=True):
        assert_close("conv2d direct", ours, right)


def test_set_winograd_takes_a_bool() -> None:
    with pytest.raises(TypeError, match="set_winograd: enabled must be a bool, got int"):
        set_winograd(0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_atens(dtype: torch.dtype, device: str) -> None:
    x, weight, _ = (tensor.to(device, dtype) for tensor in make(2, 8, 8, 16, 16))
    assert explain("conv2d", x, weight, None, 1).startswith("reference: ")
    assert torch.equal(conv2d(x, weight), reference.conv2d(x, weight))


def test_empty(device: str) -> None:
    x = torch.empty(0, 3, 8, 8, device=device)
    assert conv2d(x, torch.ones(5, 3, 3, 3, device=device), None, 2).shape == (0, 5, 4, 4)


def test_nan_stays_in_its_neighbourhood() -> None:
    x, weight, _ = make(1, 16, 16, 16, 16)
    x[0, 3, 0, 0] = float("nan")
    y = conv2d(x, weight)
    assert y[0, :, :2, :2].isnan().all() and not y[0, :, 8:, 8:].isnan().any()


def test_native_refuses_what_does_not_fit() -> None:
    lib: Any = _native.library("cpu")
    with pytest.raises(ValueError, match="must name the algorithm"):
        lib.conv_train(ConvShape(1, 4, 4, 8, 8, 3, 1).native(lib), *[0] * 7, 1)
    with pytest.raises(ValueError, match="must be of stride 1, got 2"):
        lib.conv_train(ConvShape(1, 4, 4, 8, 8, 3, 2).native(lib, DIRECT), *[0] * 5, 1, 0, 1)
    with pytest.raises(ValueError, match="conv_weight_grad: the shape must name the algorithm"):
        lib.conv_weight_grad(ConvShape(1, 4, 4, 8, 8, 3, 1).native(lib), *[0] * 4, 1)
    with pytest.raises(ValueError, match=re.escape("F(2,3)/2, not for algorithm 6")):
        lib.conv_weight_grad(ConvShape(1, 4, 4, 8, 8, 3, 2).native(lib, S43), *[0] * 4, 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [1]}, TypeError, "conv2d: x must be a torch.Tensor, got list"),
        ({"x": torch.zeros(2, 3, 4)}, ValueError, "conv2d: x must have 4 dimensions, got 3"),
        ({"x": torch.zeros(2, 3, 4, 4, dtype=torch.int64)}, TypeError, "conv2d: x must have one of the dtypes"),
        ({"weight": torch.zeros(8, 3, 2, 2)}, ValueError, "conv2d: weight must be (K, C, r, r) with r odd"),
        ({"weight": torch.zeros(8, 4, 3, 3)}, ValueError, "conv2d: weight must have shape (8, 3, 3, 3) (C of x)"),
        ({"weight": torch.zeros(8, 3, 3, 3).half()}, TypeError, "conv2d: weight must have x's dtype"),
        ({"weight": torch.zeros(8, 3, 3, 3, device="meta")}, ValueError, "conv2d: weight must be on x's device cpu"),
        ({"bias": torch.zeros(7)}, ValueError, "conv2d: bias must have shape (8,)"),
        ({"stride": 0}, ValueError, "conv2d: stride must be at least 1, got 0"),
        ({"stride": True}, TypeError, "conv2d: stride must be an int, got bool"),
    ],
)
def test_bad_input(change: dict[str, Any], error: type[Exception], message: str) -> None:
    good = {"x": torch.zeros(2, 3, 4, 4), "weight": torch.zeros(8, 3, 3, 3), "bias": None, "stride": 1}
    with pytest.raises(error, match=re.escape(message)):
        conv2d(**{**good, **change})
