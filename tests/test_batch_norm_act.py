"""batch_norm_act and its gradient against the float64 expression, and its bookkeeping against torch's BatchNorm."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hgfast import reference
from hgfast.ops import batch_norm_act
from tests.batch_norm_cases import DTYPES, EPS, FORMATS, MOMENTUM, OPTIONS, SHAPES, Inputs, gated_expression, run
from tests.tolerances import assert_close, relative_error


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradients(shape, dtype, memory_format, device) -> None:
    for training in (True, False):
        for with_residual, relu in OPTIONS:
            inputs = Inputs(shape, dtype, memory_format, device)
            ours = run(batch_norm_act, inputs, training, with_residual, relu)
            keep = gated_expression(ours["out"] > 0)
            expected = run(keep, inputs.to(torch.float64), training, with_residual, relu)
            same = run(keep, inputs, training, with_residual, relu)
            assert ours["out"].stride() == inputs.x.stride() and ours["x_grad"].stride() == inputs.x.stride()
            for name, value in ours.items():
                assert value.dtype == same[name].dtype
                assert_close(f"batch_norm_act {name}", value, expected[name], same[name])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_recomputation_gives_the_same_bits(memory_format, training, device) -> None:
    inputs = Inputs((2, 21, 7, 5), torch.float32, memory_format, device)
    kept = run(batch_norm_act, inputs, training, True, True)
    recomputed = run(batch_norm_act, inputs, training, True, True, recompute=True)
    for name, value in kept.items():
        assert torch.equal(value, recomputed[name]), name


@pytest.mark.parametrize(("with_residual", "relu"), OPTIONS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradcheck(memory_format, training, with_residual, relu) -> None:
    inputs = Inputs((2, 5, 3, 4), torch.float64, memory_format, "cpu")
    leaves = [inputs.x, inputs.weight, inputs.bias] + ([inputs.residual] if with_residual else [])
    for leaf in leaves:
        leaf.requires_grad_()

    def function(x, weight, bias, residual=None):
        running = inputs.running_mean.clone(), inputs.running_var.clone()
        return batch_norm_act(x, weight, bias, *running, training, MOMENTUM, EPS, residual, relu)

    assert torch.autograd.gradcheck(function, leaves)


def test_what_is_saved_for_backward(device) -> None:
    inputs = Inputs((2, 64, 8, 8), torch.float32, torch.channels_last, device)
    size = inputs.x.numel() * 4
    inputs.x.requires_grad_()
    for residual, recompute, expected in [
        (None, False, size),
        (inputs.residual, False, size + size // 32),
        (inputs.residual, True, 2 * size),
    ]:
        saved = {}

        def pack(t, saved=saved):
            saved[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            batch_norm_act(inputs.x, None, None, None, None, True, 0.1, EPS, residual, recompute=recompute)
        assert sum(saved.values()) == expected + 2 * 64 * 4  # and mean and variance


def test_only_what_is_asked_for_gets_a_gradient(device) -> None:
    inputs = Inputs((2, 8, 3, 3), torch.float32, torch.channels_last, device)
    for training in (True, False):
        everything = run(batch_norm_act, inputs, training, True, True)
        for name in ("x", "weight", "bias", "residual"):
            values = {n: getattr(inputs, n).detach().clone() for n in ("x", "weight", "bias", "residual")}
            values[name].requires_grad_()
            running = inputs.running_mean.clone(), inputs.running_var.clone()
            out = batch_norm_act(
                values["x"], values["weight"], values["bias"], *running, training, 0.1, EPS, values["residual"]
            )
            out.backward(inputs.grad)
            assert torch.equal(values[name].grad, everything[f"{name}_grad"])
            assert all(value.grad is None for n, value in values.items() if n != name)


def test_without_affine_and_without_running_statistics(device) -> None:
    inputs = Inputs((2, 12, 5, 4), torch.float32, torch.channels_last, device)
    x = inputs.x.requires_grad_()
    out = batch_norm_act(x, None, None, None, None, True, 0.1, EPS)
    (ours,) = torch.autograd.grad(out, x, inputs.grad)
    wide = inputs.x.detach().double().requires_grad_()
    expected = F.relu(F.batch_norm(wide, None, None, None, None, True, 0.1, EPS))
    (theirs,) = torch.autograd.grad(expected, wide, inputs.grad.double())
    assert_close("batch_norm_act out", out.detach(), expected.detach())
    assert_close("batch_norm_act x_grad", ours, theirs)


def test_running_statistics_move_as_torchs_do(device) -> None:
    x = torch.randn(3, 6, 4, 5, device=device) * 3 + 7
    for momentum in (0.0, 0.1, 1.0):
        ours, theirs = ([torch.full((6,), 0.5, device=device), torch.ones(6, device=device)] for _ in range(2))
        for scale in (1, 2):
            batch_norm_act(x * scale, None, None, *ours, True, momentum, EPS)
            F.batch_norm(x * scale, *theirs, None, None, True, momentum, EPS)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=5e-6, atol=1e-6)  # 1.7e-6 in 1500 draws


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_parameters(dtype, device) -> None:
    inputs = Inputs((2, 16, 4, 4), dtype, torch.channels_last, device)
    weight, bias = inputs.weight.to(dtype).requires_grad_(), inputs.bias.to(dtype).requires_grad_()
    running = inputs.running_mean.to(dtype), inputs.running_var.to(dtype)
    out = batch_norm_act(inputs.x, weight, bias, *running, True, 0.1, EPS)
    out.backward(inputs.grad)
    wide = run(gated_expression(out > 0), inputs.to(torch.float64), True, False, True)
    assert weight.grad.dtype == dtype and running[0].dtype == dtype and out.dtype == dtype
    assert relative_error(weight.grad, wide["weight_grad"]) < 0.02
    assert relative_error(out.detach(), wide["out"]) < 0.02


def test_large_mean_keeps_its_digits(device) -> None:
    for memory_format in FORMATS:
        x = (torch.randn(4, 32, 16, 16) + 1e4).contiguous(memory_format=memory_format).to(device)
        out = batch_norm_act(x, None, None, None, None, True, 0.1, EPS, relu=False)
        expected = F.batch_norm(x.double(), None, None, None, None, True, 0.1, EPS)
        theirs = F.batch_norm(x, None, None, None, None, True, 0.1, EPS)
        assert relative_error(out, expected) < min(1e-3, 1.5 * relative_error(theirs, expected))


def test_extreme_values(device) -> None:
    x = torch.tensor([[5e18, -5e18], [3.0, 3.0], [0.0, -0.0], [1e-22, -1e-22]]).reshape(1, 4, 1, 2).to(device)
    out = batch_norm_act(x, None, None, None, None, True, 0.1, EPS, relu=False)
    expected = F.batch_norm(x.double(), None, None, None, None, True, 0.1, EPS)
    torch.testing.assert_close(out[:, :1].double(), expected[:, :1], rtol=1e-3, atol=1e-6)  # squares near float's end
    torch.testing.assert_close(out[:, 1:].double(), expected[:, 1:], rtol=1e-6, atol=1e-20)
    broken = torch.tensor([float("nan"), 1.0, float("inf"), 2.0]).reshape(1, 2, 1, 2).to(device)
    assert batch_norm_act(broken, None, None, None, None, True, 0.1, EPS).isnan()[0].flatten(1).any(1).all()


def test_non_contiguous_views(device) -> None:
    wide = torch.randn(2, 8, 6, 12, device=device)
    x, residual = wide[..., ::2], torch.randn(6, 6, 8, 2, device=device).permute(3, 2, 0, 1)
    out = batch_norm_act(x, None, None, None, None, True, 0.1, EPS, residual)
    expected = F.relu(F.batch_norm(x.double(), None, None, None, None, True, 0.1, EPS) + residual)
    assert_close("batch_norm_act out", out, expected)
    x = torch.randn(2, 8, 3, 3, device=device, requires_grad=True)
    batch_norm_act(x, None, None, None, None, True).sum().backward()  # its gradient arrives expanded from one number
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("memory_format", FORMATS)
def test_empty_batch(memory_format, device) -> None:
    x = torch.zeros(0, 4, 3, 3, device=device).contiguous(memory_format=memory_format).requires_grad_()
    weight = torch.ones(4, device=device, requires_grad=True)
    running = torch.zeros(4, device=device), torch.ones(4, device=device)
    out = batch_norm_act(x, weight, None, *running, True)
    out.sum().backward()
    assert out.shape == x.shape and x.grad.shape == x.shape and torch.equal(weight.grad, torch.zeros_like(weight))
    assert torch.equal(running[0], torch.zeros_like(weight)) and torch.equal(running[1], torch.ones_like(weight))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_result_does_not_depend_on_threads(memory_format) -> None:
    inputs = Inputs((5, 48, 33, 17), torch.float32, memory_format, "cpu")
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(run(batch_norm_act, inputs, True, True, True))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(other[name], value) for name, value in results[0].items())


@pytest.mark.parametrize("memory_format", FORMATS)
def test_outputs_larger_than_the_caches_are_the_same(memory_format) -> None:
    """Outputs of 32 MiB and more are written in another way than their halves."""
    inputs = Inputs((2, 80, 250, 216), torch.float32, memory_format, "cpu")
    whole = run(batch_norm_act, inputs, False, True, True)
    for i in range(2):
        half = object.__new__(Inputs)
        vars(half).update({name: t[i : i + 1] if t.dim() == 4 else t for name, t in vars(inputs).items()})
        results = run(batch_norm_act, half, False, True, True)
        for name in ("out", "x_grad", "residual_grad"):
            assert torch.equal(results[name], whole[name][i : i + 1])


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("shape", [(2, 19, 3, 7), (1, 32, 4, 4)])
def test_kernels_agree_with_their_references(shape, memory_format, device) -> None:
    """Every registered op against its twin, mask and second incoming gradient included."""
    ops = torch.ops.hgfast
    inputs = Inputs(shape, torch.float64, memory_format, device)
    second = Inputs(shape, torch.float64, memory_format, device, seed=1).grad
    forward = (inputs.x, inputs.weight, inputs.bias, inputs.residual, True, EPS, True)
    ours, theirs = ops.batch_norm_act_train(*forward), reference.batch_norm_act_train(*forward)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    _, mean, var, mask = ours
    for gate in (0, 1, 2):
        rest = (inputs.x, inputs.residual, mask, mean, var, inputs.weight, inputs.bias, EPS, gate)
        for grad2 in (None, second):
            reduced = ops.batch_norm_backward_reduce(inputs.grad, grad2, *rest, True)
            for a, b in zip(
                reduced, reference.batch_norm_backward_reduce(inputs.grad, grad2, *rest, True), strict=True
            ):
                torch.testing.assert_close(a, b)
            for batch_statistics in (True, False):
                last = (*reduced[1:], grad2, 40.0, batch_statistics)
                torch.testing.assert_close(
                    ops.batch_norm_backward_apply(inputs.grad, grad2, *rest, *last),
                    reference.batch_norm_backward_apply(inputs.grad, grad2, *rest, *last),
                )


def test_who_watches_sees_the_operators() -> None:
    """The short way around the dispatcher is taken only where nothing could tell."""
    inputs, seen = Inputs((2, 8, 4, 4), torch.float32, torch.channels_last, "cpu"), []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func.name())
            return func(*args, **(kwargs or {}))

    alone = run(batch_norm_act, inputs, True, True, True)
    with Watch():
        watched = run(batch_norm_act, inputs, True, True, True)
    with torch.profiler.profile() as profile:
        run(batch_norm_act, inputs, True, True, True)
    assert all(torch.equal(watched[name], value) for name, value in alone.items())
    for names in (seen, [event.key for event in profile.key_averages()]):
        for op in (
            "batch_norm_stats",
            "batch_norm_act_apply",
            "batch_norm_backward_reduce",
            "batch_norm_backward_apply",
        ):
            assert f"hgfast::{op}" in names


def test_second_derivative_is_refused() -> None:
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    out = batch_norm_act(x, None, None, None, None, True)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        torch.autograd.grad(out.sum(), x, create_graph=True)


X, C3 = torch.zeros(2, 3, 4, 4), torch.ones(3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1], None, None, C3, C3), TypeError, "x must be a torch.Tensor, got list"),
        ((X[0], None, None, C3, C3), ValueError, "x must have 4 dimensions, got 3"),
        ((X.int(), None, None, C3, C3), TypeError, "x must have one of the dtypes"),
        ((X, C3[:2], None, C3, C3), ValueError, "weight must have shape (3,)"),
        ((X, None, C3.half(), C3, C3), TypeError, "bias must have one of the dtypes float32 beside x"),
        ((X.half(), None, C3.double(), C3, C3), TypeError, "bias must have one of the dtypes float16, float32"),
        ((X, None, C3.to("meta"), C3, C3), ValueError, "bias must be on x's device cpu, got meta"),
        ((X, None, None, C3, None), ValueError, "running_mean and running_var must be given both or neither"),
        ((X, None, None, None, None), ValueError, "running_mean and running_var are needed where training is False"),
        ((X, None, None, C3, C3, True, 0.1, EPS, X[:1]), ValueError, "residual must have shape (2, 3, 4, 4)"),
        ((X, None, None, C3, C3, True, 0.1, EPS, X.half()), TypeError, "residual must have x's dtype"),
        ((X, None, None, C3[:1].expand(3), C3, True), ValueError, "running_mean must not be an expanded tensor"),
        ((X, None, None, C3, C3[:1].expand(3), True), ValueError, "running_var must not be an expanded tensor"),
        ((X[:1, :, :1, :1], None, None, C3, C3, True), ValueError, "expected more than 1 value per channel"),
    ],
)
def test_bad_input(arguments, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        batch_norm_act(*arguments)
