"""Fused networks in the tools around training: autocast, checkpointing, compilation, copies, functional calls."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import hgfast
from tests.foreign_models import foreign_model, heatmaps
from tests.look_alikes import Block
from tests.recipe import apply_recipe
from tests.small_models import FAMILIES, small_model
from tests.test_fuse_hourglasses import Hourglass

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def foreign(family: str) -> nn.Module:
    """One stack: how stacks are joined, no tool sees; tests/test_fuse.py holds steps of two of them."""
    return foreign_model(family, num_stacks=1, shallow=True)


def fused(family: str, recompute: bool = False, dtype: torch.dtype = torch.float64) -> nn.Module:
    return hgfast.fuse(apply_recipe(foreign(family), 1).to(dtype), recompute=recompute)


def gradients(model: nn.Module, call=heatmaps, images: Tensor = IMAGES) -> dict[str, Tensor]:
    model.zero_grad()
    result = call(model, images.to(next(model.parameters()).dtype))
    sum(h.square().mean() for h in result).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys() and expected
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_grad_scaler(family: str, dtype: torch.dtype) -> None:
    """Errors against float64 at most twice those of the plain network under the same autocast; the scaler steps."""
    plain = apply_recipe(foreign_model(family), 1)
    exact = heatmaps(copy.deepcopy(plain).double(), IMAGES.double())[-1]
    errors = []
    for model in (hgfast.fuse(copy.deepcopy(plain)), plain):
        scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16, init_scale=256.0)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        with torch.autocast("cpu", dtype=dtype):
            result = heatmaps(model, IMAGES)
            loss = sum(h.float().square().mean() for h in result)
        assert result[-1].dtype == dtype
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert {name for name in before if name.endswith("conv1.weight")} <= moved
        assert all(p.dtype == torch.float32 for p in model.parameters())
        errors.append(float((result[-1].double() - exact).norm() / exact.norm()))
    assert errors[0] <= 2 * errors[1]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing(family: str, use_reentrant: bool, recompute: bool) -> None:
    """A whole network inside torch.utils.checkpoint, which unpacks each saved tensor once only."""
    model = fused(family, recompute)
    expected = gradients(model)

    def call(model: nn.Module, images: Tensor) -> list[Tensor]:
        images = images.clone().requires_grad_()
        return checkpoint(lambda x: tuple(heatmaps(model, x)), images, use_reentrant=use_reentrant)

    same(gradients(model, call), expected)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_accumulation_and_retained_graphs(family: str, recompute: bool) -> None:
    model = fused(family, recompute).eval()
    expected = gradients(model)
    model.zero_grad()
    for half in IMAGES.double().split(1):
        (sum(h.square().mean() for h in heatmaps(model, half)) / 2).backward()
    same({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, expected)
    model.zero_grad()
    loss = sum(h.square().mean() for h in heatmaps(model, IMAGES.double()))
    for _ in range(2):
        loss.backward(gradient=torch.tensor(0.5, dtype=torch.float64), retain_graph=True)
    same({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_training_step(family: str) -> None:
    """One graph without breaks, same heatmaps, gradients and running statistics as eager."""
    eager = apply_recipe(small_model(family, num_stacks=1, shallow=True), 1)
    model = copy.deepcopy(eager)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    got, expected = gradients(model, lambda _, x: compiled(x)), gradients(eager)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-2, atol=1e-2 * float(value.abs().max()) + 1e-5)
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_compiled_step_of_a_lowered_network() -> None:
    """One graph without breaks, too: the steps of modules are as plain to torch.compile as their own code."""
    eager = nn.Sequential(Hourglass(Block()), Block()).double()
    model = hgfast.fuse(copy.deepcopy(eager))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    images = torch.randn(2, 4, 8, 6, dtype=torch.float64)
    same(gradients(model, lambda _, x: [compiled(x)], images), gradients(eager, lambda _, x: [eager(x)], images))
    torch.testing.assert_close(model.state_dict(), eager.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_functional_call_and_functorch(family: str) -> None:
    model = fused(family)
    expected = gradients(copy.deepcopy(model))
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    state = {**{name: t.clone() for name, t in model.named_buffers()}, **{n: p for n, p in model.named_parameters()}}
    images = IMAGES.double().permute(0, 2, 3, 1) if family == "princeton" else IMAGES.double()

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        result = torch.func.functional_call(model, {**state, **parameters}, (images,))
        stacks = result.unbind(1) if isinstance(result, Tensor) else result
        return sum(h.square().mean() for h in stacks)

    leaves = {name: p.clone().requires_grad_() for name, p in trained.items()}
    same(dict(zip(leaves, torch.autograd.grad(loss(leaves), list(leaves.values())), strict=True)), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_traced_and_then_on_another_size(family: str) -> None:
    model = fused(family).eval()
    images = IMAGES.double().permute(0, 2, 3, 1) if family == "princeton" else IMAGES.double()
    traced = torch.jit.trace(model, images)  # which traces it once more, and compares the graphs
    for x in (images, images[:1]):
        torch.testing.assert_close(traced(x), model(x))


@pytest.mark.parametrize("family", FAMILIES)
def test_exported_for_any_batch_and_kept_in_a_file(family: str) -> None:
    """By torch.export, whose program calls hgfast's operators; the model itself by torch.save."""
    model = hgfast.fuse(apply_recipe(foreign_model(family, num_stacks=1), 1)).eval()
    images = IMAGES.permute(0, 2, 3, 1) if family == "princeton" else IMAGES
    with torch.no_grad():
        program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("n", max=64)},))
        assert any(str(node.target).startswith("hgfast.") for node in program.graph.nodes)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        for run in (program.module(), torch.load(file, weights_only=False)):
            torch.testing.assert_close(run(images[:1]), model(images[:1]))


def test_one_module_twice_in_a_network() -> None:
    block = hgfast.nn.BasicBlock(4, 4).double()
    plain = hgfast.unfuse(copy.deepcopy(block))
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    for module in (block, plain):
        module(module(x)).square().sum().backward()
    for (name, p), q in zip(block.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
    shared = nn.Sequential(plain, nn.Identity(), plain)
    assert hgfast.fuse(shared)[0] is shared[2] and list(shared.fusion.replaced) == ["0"]
    twin = copy.deepcopy(hgfast.unfuse(copy.deepcopy(shared)))
    for module in (hgfast.fuse(shared), twin):
        module.zero_grad()
        module(x).square().sum().backward()
    for (name, p), q in zip(shared.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_and_files(family: str) -> None:
    model = fused(family)
    expected = gradients(copy.deepcopy(model))
    copied = copy.deepcopy(model)
    assert not {id(p) for p in copied.parameters()} & {id(p) for p in model.parameters()}
    for twin in (copied, pickle.loads(pickle.dumps(model))):
        same(gradients(twin), expected)
        assert type(hgfast.unfuse(twin)) is type(foreign(family))
        same(gradients(twin), {name: p for name, p in gradients(twin).items()})
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    plain = foreign(family).double()
    plain.load_state_dict(torch.load(file, weights_only=True))
    same(gradients(plain), expected)


@pytest.mark.parametrize("recompute", [False, True])
def test_changing_an_activation_in_place_is_seen(recompute: bool) -> None:
    """An in-place operation on a block's output: the next block must not take the output as it was before."""
    first, second = (hgfast.nn.BasicBlock(4, 4).double() for _ in range(2))
    first.recompute = second.recompute = recompute
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    results = []
    for change in (lambda y: y.mul_(2), lambda y: y * 2):
        for block in (first, second):
            block.zero_grad()
        second(change(first(x))).square().sum().backward()
        results.append([p.grad.clone() for block in (first, second) for p in block.parameters()])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_partial_gradients(family: str) -> None:
    """autograd.grad for some parameters only, and a network whose first half is frozen."""
    model = fused(family, recompute=True)
    expected = gradients(copy.deepcopy(model))
    chosen = {name: p for name, p in model.named_parameters() if name in expected}
    chosen = dict(list(chosen.items())[len(chosen) // 2 :])
    loss = sum(h.square().mean() for h in heatmaps(model, IMAGES.double()))
    got = torch.autograd.grad(loss, list(chosen.values()))
    same(dict(zip(chosen, got, strict=True)), {name: expected[name] for name in chosen})
    for name, p in model.named_parameters():
        p.requires_grad_(name in chosen)
    same(gradients(model), {name: expected[name] for name in chosen})


def replica_of(module: nn.Module) -> nn.Module:
    """A replica as DataParallel makes it on another device: shallow, with tensors of its own in place of parameters."""
    replica = module._replicate_for_data_parallel()
    for name, child in module._modules.items():
        replica._modules[name] = None if child is None else replica_of(child)
    for name, parameter in module._parameters.items():
        if parameter is None:
            replica._parameters[name] = None
        else:
            setattr(replica, name, parameter.detach() * 2)
    for name, buffer in module._buffers.items():
        replica._buffers[name] = None if buffer is None else buffer.clone()
    return replica


@pytest.mark.parametrize("family", FAMILIES)
def test_replicas_use_their_own_parameters(family: str) -> None:
    model = fused(family).eval()
    plain = hgfast.unfuse(copy.deepcopy(model))
    images = IMAGES.double().permute(0, 2, 3, 1) if family == "princeton" else IMAGES.double()
    with torch.no_grad():
        got = replica_of(model)(images)
        for parameter in plain.parameters():
            parameter.mul_(2)
        expected = plain(images)
    torch.testing.assert_close(got[-1], expected[-1])
