"""max_pool, its gradient and its second output, on every device, against torch."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hgfast import _native, reference
from hgfast.nn.blocks import FUSED
from hgfast.ops import max_pool, max_pool_branch
from hgfast.ops._registry import explain
from tests.test_upsample_add import at_odd_address
from tests.tolerances import assert_close

Tensor = torch.Tensor
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
FORMATS = [torch.channels_last, torch.contiguous_format]
# and one of more elements than the emulator lets kernels count by int
SHAPES = [(2, 16, 6, 8), (1, 24, 7, 5), (3, 17, 2, 2), (1, 1, 9, 3), (1, 20, 21, 23), (0, 8, 4, 4), (2, 0, 4, 6)]
INF, NAN = float("inf"), float("nan")
CELLS = [
    *([1.0, 1, 1, 1], [0, 2, 2, 1], [0, 1, 2, 2], [3, 1, 3, 1], [1, 3, 2, 3]),  # ties
    *([NAN, 1, 2, 3], [1, NAN, 2, 3], [1, NAN, 2, NAN], [NAN, NAN, 2, 1], [NAN] * 4, [INF, NAN, INF, 0]),
    *([-INF] * 4, [-INF, -INF, -3e38, -INF], [INF, 1, INF, 2], [0.0, -0.0, 0, -0.0], [-0.0, 0.0, 0, 0]),
    *([1e-45, 0, 0, 1e-45], [-1e-45, -2e-45, 0, 0]),
]


def make(shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format, device: str) -> Tensor:
    """Few different numbers, hence many ties."""
    x = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(sum(shape)))
    return x.to(dtype).contiguous(memory_format=memory_format).to(device)


def check_against_torch(x: Tensor) -> None:
    """Result and gradient, bit by bit."""
    ours, theirs = x.clone().requires_grad_(), x.cpu().clone().requires_grad_()
    pooled, expected = max_pool(ours), F.max_pool2d(theirs, 2)
    torch.testing.assert_close(pooled.cpu(), expected, rtol=0, atol=0, equal_nan=True)
    grad = torch.randn(expected.shape).to(x.dtype)
    pooled.backward(grad.to(x.device))
    expected.backward(grad)
    assert torch.equal(ours.grad.cpu(), theirs.grad)
    assert ours.grad.stride() == x.stride()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradient(shape, dtype, memory_format, device) -> None:
    x = make(shape, dtype, memory_format, device)
    assert explain("max_pool", x) == f"kernel: {device}"
    if 0 not in shape:
        return check_against_torch(x)
    out = max_pool(x.requires_grad_())
    assert out.shape == (*shape[:2], shape[2] // 2, shape[3] // 2) and out.dtype == dtype
    out.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("height", range(2, 10))
def test_all_small_sizes(height, memory_format, device) -> None:
    for width in range(2, 10):
        check_against_torch(make((1, 9, height, width), torch.float32, memory_format, device))


@pytest.mark.parametrize("channels", [1, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_winner_is_torchs(dtype, channels, device) -> None:
    """The first maximum in row-major order, or the last NaN; signed zeros, infinities, denormals."""
    cells = torch.tensor(CELLS, dtype=dtype).view(-1, 1, 2, 2).expand(-1, channels, 2, 2)
    check_against_torch(cells.contiguous(memory_format=torch.channels_last).to(device))
    same = F.max_pool2d(cells.contiguous(), 2), max_pool(cells.contiguous().to(device)).cpu()
    assert torch.equal(*(torch.signbit(values) for values in same))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES[:5])
def test_branch_sums_both_gradients(shape, dtype, memory_format, device) -> None:
    x = make(shape, dtype, memory_format, device).requires_grad_()
    kept, pooled = max_pool_branch(x)
    assert torch.equal(kept, x) and torch.equal(pooled, max_pool(x.detach()))
    grads = torch.randn(shape).to(dtype), torch.randn(pooled.shape).to(dtype)
    (ours,) = torch.autograd.grad((kept, pooled), x, [grad.to(device) for grad in grads], retain_graph=True)
    inputs = grads[1], x.detach().cpu(), grads[0]
    exact = reference.max_pool_backward(*(value.double() for value in inputs))
    assert_close("upsample_add_backward", ours, exact, reference.max_pool_backward(*inputs))
    for i, alone in enumerate((kept, pooled)):
        (grad,) = torch.autograd.grad(alone, x, grads[i].to(device), retain_graph=True)
        expected = grads[0] if i == 0 else reference.max_pool_backward(grads[1], x.detach().cpu(), None)
        assert torch.equal(grad.cpu(), expected)


def test_branch_without_gradient_gives_x_itself(device) -> None:
    x = make((1, 4, 4, 4), torch.float32, torch.channels_last, device)
    assert max_pool_branch(x)[0] is x
    with torch.no_grad():
        assert max_pool_branch(x.requires_grad_())[0] is x


def test_gradients_of_both_orders() -> None:
    x = torch.randperm(2 * 3 * 5 * 4).double().view(2, 3, 5, 4).requires_grad_()  # no ties
    for function in (max_pool, lambda x: torch.cat([part.flatten() for part in max_pool_branch(x)])):
        assert torch.autograd.gradcheck(function, (x,))
        assert torch.autograd.gradgradcheck(function, (x,))


def test_branch_compiles_into_one_graph(device) -> None:
    x = make((1, 4, 6, 4), torch.float32, torch.channels_last, device)

    def loss(x: Tensor) -> Tensor:
        kept, pooled = max_pool_branch(x)
        return (kept.sin().sum() + (pooled**2).sum()) * 1

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    grads = [torch.autograd.grad(function(x.requires_grad_()), x)[0] for function in (loss, compiled)]
    torch.testing.assert_close(*grads)


def test_keeps_nothing_but_its_input(device) -> None:
    kept: list[Tensor] = []
    x = make((1, 8, 6, 6), torch.float32, torch.channels_last, device).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        max_pool(x)
        max_pool_branch(x)
    assert {t.data_ptr() for t in kept} == {x.data_ptr()}


def test_misaligned_and_non_contiguous_inputs(device) -> None:
    x = make((1, 16, 4, 6), torch.float32, torch.channels_last, device)
    check_against_torch(at_odd_address(x))
    grad, addend = max_pool(x), torch.randn_like(x)
    expected = reference.max_pool_backward(grad, x, addend)
    for inputs in ((at_odd_address(grad), x, addend), (grad, x, at_odd_address(addend))):
        torch.testing.assert_close(torch.ops.hgfast.max_pool_backward(*inputs), expected)
    wide = torch.randn(2, 8, 6, 12, device=device)
    view = wide[..., ::2].detach().requires_grad_()
    assert torch.equal(max_pool(view), F.max_pool2d(view, 2))
    (grad,) = torch.autograd.grad(max_pool(view).square().sum(), view)
    (expected,) = torch.autograd.grad(F.max_pool2d(view, 2).square().sum(), view)
    assert torch.equal(grad, expected)


def test_result_does_not_depend_on_threads() -> None:
    x = torch.randn(3, 24, 33, 17).contiguous(memory_format=torch.channels_last)
    grad, addend, before = torch.randn(3, 24, 16, 8), torch.randn_like(x), torch.get_num_threads()
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append((max_pool(x), torch.ops.hgfast.max_pool_backward(grad, x, addend)))
    torch.set_num_threads(before)
    for pair in results[1:]:
        assert all(map(torch.equal, pair, results[0]))


@pytest.mark.parametrize("inner", [3, 4])
def test_module_in_an_hourglass(inner) -> None:
    """Same keys and, in both layouts, the same results and gradients as with nn.MaxPool2d."""
    torch.manual_seed(0)
    plain = reference.NewellHourglass(2, 8)
    ours = reference.NewellHourglass(2, 8, blocks=FUSED)
    assert list(ours.state_dict()) == list(plain.state_dict())
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 4 * inner, 8).contiguous(memory_format=torch.channels_last)
    grads = []
    for model in (plain, ours):
        leaf = x.clone().requires_grad_()
        model(leaf).square().sum().backward()
        grads.append([leaf.grad, *(p.grad for p in model.parameters() if p.grad is not None)])
    largest = max(float(grad.abs().max()) for grad in grads[0])  # biases before a BatchNorm have nothing but rounding
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (None, TypeError, "max_pool: x must be a torch.Tensor, got NoneType"),
        (torch.zeros(1, 2, 4), ValueError, "x must have 4 dimensions, got 3 (shape (1, 2, 4))"),
        (torch.zeros(1, 2, 4, 4).int(), TypeError, "x must have one of the dtypes"),
        (torch.zeros(1, 2, 1, 4), ValueError, "x must be at least 2 pixels high and wide, got shape (1, 2, 1, 4)"),
        (torch.zeros(1, 2, 4, 1), ValueError, "x must be at least 2 pixels high and wide, got shape (1, 2, 4, 1)"),
    ],
)
@pytest.mark.parametrize("function", [max_pool, max_pool_branch])
def test_bad_input(function, x, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        function(x)


@pytest.mark.parametrize("dtype", DTYPES[:3])
@pytest.mark.parametrize("shape", [(2, 6, 8, 16), (1, 7, 5, 24), (3, 2, 2, 17), (1, 9, 3, 1)])
def test_second_output(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    """relu(scale y + shift) beside y, which frozen networks ask the native function for."""
    n, h, w, c = shape
    generator = torch.Generator().manual_seed(c)
    x = torch.randn(*shape, generator=generator).to(dtype)
    x[0, 0, 1, 0] = float("nan")
    scale, shift = torch.randn(2, c, generator=generator)
    y = F.max_pool2d(x.float().permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    lib: Any = _native.library(device)
    out = torch.empty(n, h // 2, w // 2, c, dtype=dtype, device=device)
    out2 = torch.empty_like(out)
    x, scale, shift = x.to(device), scale.to(device), shift.to(device)
    lib.max_pool(
        *(_native.ptr(x), _native.out(out), _native.ptr(scale), _native.ptr(shift), _native.out(out2)),
        *(_native.DTYPE_CODES[dtype], n, h, w, c, _native.exec_handle(x)),
    )
    torch.testing.assert_close(out.cpu().float(), y, rtol=0, atol=0, equal_nan=True)
    exact = (y.double() * scale.cpu().double() + shift.cpu().double()).relu()
    same = (y.to(dtype) * scale.cpu().to(dtype) + shift.cpu().to(dtype)).relu()
    known = ~y.isnan()
    assert out2.cpu()[~known].isnan().all()
    assert_close("upsample_add_backward", out2.cpu()[known], exact[known], same[known])
