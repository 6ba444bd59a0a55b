"""torch's and others' tools that want contiguous weights, on built networks and on fused ones."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, prune, vector_to_parameters

import hgfast
from tests.foreign_models import foreign_model, heatmaps
from tests.recipe import apply_recipe
from tests.small_models import small_model

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
KINDS = [("mmpose", "built"), ("princeton", "built"), ("mmpose", "foreign")]


def network(family: str, way: str) -> nn.Module:
    """A network of hgfast's, or one of another package's classes that was fused."""
    if way == "built":
        return apply_recipe(small_model(family, num_stacks=1), 1).double()
    return hgfast.fuse(apply_recipe(foreign_model(family), 1).double())


def loss(model: nn.Module) -> Tensor:
    return sum(h.square().mean() for h in heatmaps(model, IMAGES))


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def convolutions(model: nn.Module) -> list[tuple[nn.Module, str]]:
    return [(module, "weight") for module in model.modules() if isinstance(module, nn.Conv2d)]


pytestmark = pytest.mark.parametrize(("family", "way"), KINDS)


def test_weights_and_gradients_can_be_flattened(family: str, way: str) -> None:
    model = network(family, way)
    loss(model).backward()
    vector = parameters_to_vector([p.grad for p in trained(model)])
    assert torch.equal(vector, torch.cat([p.grad.reshape(-1) for p in trained(model)]))
    twin = copy.deepcopy(model)
    vector_to_parameters(parameters_to_vector(model.parameters()) / 2, twin.parameters())
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p / 2, q)
    loss(twin).backward()
    assert all(bool(p.grad.isfinite().all()) for p in trained(twin))


def test_lbfgs_goes_where_it_goes_with_the_plain_network(family: str, way: str) -> None:
    model = network(family, way)
    plain = hgfast.unfuse(copy.deepcopy(model))
    for each in (model, plain):
        optimizer = torch.optim.LBFGS(trained(each), lr=1e-3, max_iter=3, line_search_fn="strong_wolfe")

        def closure(each: nn.Module = each, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            value = loss(each)
            value.backward()
            return value

        optimizer.step(closure)
    assert any(not torch.equal(p, q) for p, q in zip(trained(model), trained(network(family, way)), strict=True))
    for (name, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_pruning(family: str, way: str) -> None:
    """Over all convolutions and channel by channel: the mask counts, in both directions, and can be made lasting."""
    model = network(family, way).train()
    prune.global_unstructured(convolutions(model), prune.L1Unstructured, amount=0.3)
    first = convolutions(model)[0][0]
    prune.ln_structured(first, "weight", amount=0.25, n=2, dim=0)
    loss(model).backward()
    masks = [module.weight_mask for module, _ in convolutions(model)]
    assert 0.29 < 1 - float(sum(m.sum() for m in masks)) / sum(m.numel() for m in masks) < 0.35
    for module, _ in convolutions(model):
        grad = module.weight_orig.grad
        assert grad is None or not bool(grad[module.weight_mask == 0].any())
    model.eval()
    expected = heatmaps(model, IMAGES)[-1]
    for module, name in convolutions(model):
        prune.remove(module, name)
    torch.testing.assert_close(heatmaps(model, IMAGES)[-1], expected, rtol=1e-9, atol=1e-12)
    frozen = hgfast.freeze(copy.deepcopy(model).float())
    got, largest = frozen(IMAGES.float())[-1].double(), float(expected.detach().abs().max())
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * largest)


def test_safetensors(family: str, way: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    model, other = network(family, way), network(family, way)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    safetensors.save_file(model.state_dict(), tmp_path / "a.safetensors")
    safetensors.save_model(model, str(tmp_path / "b.safetensors"))
    for name in ("a", "b"):
        twin = copy.deepcopy(other)
        safetensors.load_model(twin, tmp_path / f"{name}.safetensors")
        for key, value in model.state_dict().items():
            assert torch.equal(twin.state_dict()[key], value), key
    other.load_state_dict(safetensors.load_file(tmp_path / "a.safetensors"))
    assert torch.equal(loss(other), loss(model))
