"""Fused blocks against the reference's: values, gradients, running statistics, in every mode of BatchNorm."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hgfast import reference
from hgfast.nn import BasicBlock, BatchNormAct, Bottleneck, ConvModule, UpsampleAdd
from tests.recipe import apply_recipe

CASES: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module], int]] = {
    "basic": (BasicBlock, reference.BasicBlock, 6),
    "basic, wider": (lambda c: BasicBlock(c, 10), lambda c: reference.BasicBlock(c, 10), 6),
    "basic, strided": (lambda c: BasicBlock(c, 8, 2), lambda c: reference.BasicBlock(c, 8, 2), 6),
    "bottleneck": (Bottleneck, reference.Bottleneck, 8),
    "bottleneck, wider": (lambda c: Bottleneck(c, 12), lambda c: reference.Bottleneck(c, 12), 8),
    "conv": (lambda c: ConvModule(c, 5, 3, 2), lambda c: reference.ConvModule(c, 5, 3, 2), 4),
    "conv, bias": (lambda c: ConvModule(c, 5, 1, bias=True), lambda c: reference.ConvModule(c, 5, 1, bias=True), 4),
    "conv, linear": (lambda c: ConvModule(c, 5, 1, relu=False), lambda c: reference.ConvModule(c, 5, 1, relu=False), 4),
    "conv alone": (
        lambda c: ConvModule(c, 5, 7, 2, bias=True, bn=False, relu=False),
        lambda c: reference.ConvModule(c, 5, 7, 2, bias=True, bn=False, relu=False),
        3,
    ),
}
MODES = ("train", "eval", "frozen statistics", "no running statistics", "no affine", "cumulative")


def make(kind: Callable[..., nn.Module], channels: int) -> nn.Module:
    same = kind in (BasicBlock, reference.BasicBlock, Bottleneck, reference.Bottleneck)
    return apply_recipe(kind(channels, channels) if same else kind(channels), 3).double()


def into_mode(block: nn.Module, mode: str) -> nn.Module:
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    for bn in norms:
        if mode == "no running statistics":
            bn.running_mean = bn.running_var = bn.num_batches_tracked = None
            bn.track_running_stats = False
        elif mode == "no affine":
            bn.weight = bn.bias = None
        elif mode == "cumulative":
            bn.momentum = None
    block.train(mode != "eval")
    if mode == "frozen statistics":
        for bn in norms:
            bn.eval()
    return block


def gradients(block: nn.Module, x: Tensor, seed: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    out = block(x)
    (out * seed[..., : out.shape[2], : out.shape[3]][:, : out.shape[1]]).sum().backward()
    grads = {name: p.grad for name, p in block.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "x": x.grad, **grads, **{name: b.clone() for name, b in block.named_buffers()}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [(2, 6, 5), (1, 3, 1), (3, 1, 8)])
def test_block_is_the_reference(case: str, mode: str, size: tuple[int, int, int], device: str) -> None:
    fused_kind, plain_kind, channels = CASES[case]
    blocks = [into_mode(make(kind, channels), mode).to(device) for kind in (fused_kind, plain_kind)]
    n, h, w = size
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, channels, h, w, generator=generator, dtype=torch.float64).to(device)
    seed = torch.randn(n, 16, h, w, generator=generator, dtype=torch.float64).to(device)
    got, expected = (gradients(block, x, seed) for block in blocks)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("mode", ["train", "frozen statistics"])
def test_bias_before_the_statistics_of_a_batch_has_no_gradient(mode: str, device: str) -> None:
    """Such a BatchNorm takes the bias away again; PyTorch gives what rounding leaves of a sum that is 0."""
    block = into_mode(make(Bottleneck, 8), mode).to(device).float()
    block(torch.randn(2, 8, 5, 6, device=device)).square().sum().backward()
    biases = {name: p.grad for name, p in block.named_parameters() if name.endswith(".bias") and p.grad is not None}
    zero = {name for name, grad in biases.items() if not grad.any()}
    assert zero == ({"conv1.conv.bias", "conv2.conv.bias"} if mode == "train" else set())


@pytest.mark.parametrize("case", ["basic", "basic, strided", "bottleneck, wider", "conv, bias"])
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck(case: str, training: bool) -> None:
    kind, _, channels = CASES[case]
    block = make(kind, channels).train(training)
    for bn in (m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
        bn.momentum = 0.0
    x = torch.randn(2, channels, 3, 4, dtype=torch.float64, requires_grad=True)
    parameters = [p for p in block.parameters() if p.requires_grad]
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (x, *parameters))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_error_in_half_precision_is_at_most_twice_that_of_pytorch(case: str, dtype: torch.dtype) -> None:
    """Over eight inputs: whether an element near 0 passes a ReLU is up to the rounding, and moves all gradients."""
    *kinds, channels = CASES[case]
    errors = torch.zeros(2, 2, dtype=torch.float64)  # (fused, plain), (result, gradient of x)
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(4, channels, 16, 12, generator=generator).to(dtype).double()
        weights = torch.randn(4, 16, 16, 12, generator=generator).to(dtype).double()
        exact = gradients(make(kinds[1], channels), x, weights)
        for i, kind in enumerate(kinds):
            got = gradients(make(kind, channels).to(dtype), x.to(dtype), weights.to(dtype))
            errors[i] += torch.stack([(got[name] - exact[name]).abs().median() for name in ("out", "x")])
    assert (errors[0] <= 2 * errors[1]).all(), errors


@pytest.mark.parametrize("case", ["basic", "bottleneck", "conv"])
def test_both_memory_formats_give_the_same(case: str) -> None:
    kind, _, channels = CASES[case]
    block = make(kind, channels)
    x, seed = torch.randn(2, channels, 4, 6, dtype=torch.float64), torch.randn(2, 16, 4, 6, dtype=torch.float64)
    first = gradients(copy.deepcopy(block), x, seed)
    second = gradients(block, x.contiguous(memory_format=torch.channels_last), seed)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", ["basic", "bottleneck", "conv"])
def test_hooks_on_parts_are_called(case: str) -> None:
    kind, plain_kind, channels = CASES[case]
    block, plain = make(kind, channels), make(plain_kind, channels)
    part = next(m for m in block.modules() if isinstance(m, nn.Conv2d))
    seen = []
    part.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    x = torch.randn(2, channels, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(block(x), plain(x))
    assert len(seen) == 1


def test_one_value_per_channel_is_an_error() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BasicBlock(4, 4)(torch.randn(1, 4, 1, 1))


def test_parts_without_gradient() -> None:
    """Frozen convolutions and an input without gradient: only the others get one."""
    block = make(BasicBlock, 4)
    block.conv1.weight.requires_grad_(False)
    block.bn2.bias.requires_grad_(False)
    block(torch.randn(2, 4, 4, 4, dtype=torch.float64)).sum().backward()
    without = {name for name, p in block.named_parameters() if p.grad is None}
    assert without == {"conv1.weight", "bn2.bias"}


def test_second_derivative_is_refused() -> None:
    x = torch.randn(2, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(make(BasicBlock, 4)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_batch_norm_act_module(mode: str, with_residual: bool, relu: bool, device: str) -> None:
    affine, track = mode != "no affine", mode != "no running statistics"
    momentum = None if mode == "cumulative" else 0.3
    norm = BatchNormAct(6, 1e-3, momentum, affine, track, relu).to(device)
    plain = nn.BatchNorm2d(6, 1e-3, momentum, affine, track).to(device)
    assert norm.state_dict().keys() == plain.state_dict().keys()
    for module in (norm, plain):
        module.train(mode not in ("eval", "frozen statistics"))
    x, residual = torch.randn(2, 2, 6, 5, 3).to(device)
    a, b = (t.clone().requires_grad_() for t in (x, residual))
    c, d = (t.clone().requires_grad_() for t in (x, residual))
    for _ in range(2):
        got = norm(a, b) if with_residual else norm(a)
        expected = plain(c) + d if with_residual else plain(c)
        expected = expected.relu() if relu else expected
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
        (got * residual).sum().backward()
        (expected * residual).sum().backward()
    torch.testing.assert_close(a.grad, c.grad, rtol=1e-4, atol=1e-4)
    if with_residual:
        torch.testing.assert_close(b.grad, d.grad)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_batch_norm_act_names_bad_arguments() -> None:
    norm = BatchNormAct(4)
    with pytest.raises(ValueError, match="x must have"):
        norm(torch.randn(4, 4))
    with pytest.raises(ValueError, match="weight"):
        norm(torch.randn(2, 5, 2, 2))
    with pytest.raises(ValueError, match="residual"):
        norm(torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 3))
    with pytest.raises(TypeError, match="residual"):
        norm(torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2).double())


@pytest.mark.parametrize("with_residual", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("kind", ["basic", "bottleneck", "conv", "merge"])
def test_recompute_behind_a_batch_norm_act(kind: str, relu: bool, with_residual: bool) -> None:
    """A block that keeps no input has it built again only where the maker still has what it was made from."""
    maker = BatchNormAct(4, relu=relu).double()
    reader = UpsampleAdd() if kind == "merge" else make(CASES[kind][0], 4)
    found = []
    for recompute in (False, True):
        reader.recompute = recompute
        x = torch.linspace(-1, 2, 2 * 4 * 5 * 6, dtype=torch.float64).sin().reshape(2, 4, 5, 6).requires_grad_()
        made = maker(x, x.cos()) if with_residual else maker(x)
        out = reader(made, made[:, :, ::2, ::2].contiguous()) if kind == "merge" else reader(made)
        wanted = [x, *maker.parameters(), *(p for p in reader.parameters() if p.requires_grad)]
        found.append(torch.autograd.grad(out.square().sum(), wanted))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
