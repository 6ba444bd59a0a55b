"""hgfast.fuse and unfuse on the peers' networks (stand-ins), hgfast's own, and things that are no hourglass."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from torch import nn

import hgfast
from hgfast import models
from tests.foreign_models import foreign_model, heatmaps
from tests.recipe import apply_recipe
from tests.same_behaviour import assert_same, images, pair_of
from tests.small_models import FAMILIES, small_model
from tests.zoo.openmmlab import BasicBlock as ForeignBlock

CONVOLUTIONS = {"mmpose": 60, "princeton": 102}
"""That run in fused operations."""


def network(family: str, seed: int = 1) -> nn.Module:
    return apply_recipe(foreign_model(family), seed)


def step(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    result = heatmaps(model, images)
    sum((h * h).mean() for h in result).backward()
    grads = {f"grad {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"last": result[-1].detach(), **grads, **dict(model.named_buffers())}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_step_as_the_peers(family: str, recompute: bool) -> None:
    plain = network(family).double()
    fused = hgfast.fuse(copy.deepcopy(plain), recompute=recompute)
    images = torch.randn(2, 3, 64, 128, dtype=torch.float64)
    got, expected = step(fused, images), step(plain, images)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    for model in (plain, fused):
        model.eval()
    torch.testing.assert_close(heatmaps(fused, images)[-1], heatmaps(plain, images)[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_but_the_forward_passes_stays(family: str) -> None:
    model = network(family).to(memory_format=torch.channels_last).eval()
    some = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    some.train()
    modules = {
        name: (m, type(m), m.training, (repr(m), inspect.signature(m.forward))) for name, m in model.named_modules()
    }
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    wanted, keys = {name: p.requires_grad for name, p in parameters.items()}, list(model.state_dict())
    fused = hgfast.fuse(model)
    assert fused is model and list(model.state_dict()) == keys and not any(m._forward_hooks for m in model.modules())
    assert all(parameters[name] is p for name, p in model.named_parameters())
    assert all(buffers[name] is b for name, b in model.named_buffers())
    for name, module in model.named_modules():
        before, kind, training, described = modules[name]
        assert module is before and isinstance(module, kind) and module.training == training
        assert (repr(module), inspect.signature(module.forward)) == described
    changed = {name for name, p in model.named_parameters() if p.requires_grad != wanted[name]}
    assert changed == set(model.fusion.frozen)
    report = model.fusion
    convolutions = {name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert len(convolutions - set(report.left)) == CONVOLUTIONS[family]
    assert all("does not call it" in report.left[name] for name in convolutions & set(report.left))
    assert not hgfast.fuse(model).fusion.replaced
    plain = hgfast.unfuse(model)
    assert plain is model and list(plain.state_dict()) == keys
    assert wanted == {name: p.requires_grad for name, p in plain.named_parameters()}
    assert all(type(m) is modules[name][1] for name, m in plain.named_modules())


def test_report_says_what_and_why() -> None:
    model = network("mmpose")
    model.backbone.stem[1][0].register_forward_hook(lambda *_: None)
    model.backbone.inters[0].conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=2)
    report = hgfast.fuse(model).fusion
    assert report.replaced["backbone.hourglass_modules.0.up1.0"] == "1 operation: 2 convolutions, 2 BatchNorms"
    assert "1 merge" in report.replaced["backbone.hourglass_modules.0"]
    assert "it has forward hooks" in report.left["backbone.stem.1.0"]
    assert report.left["backbone.inters.0.conv2"] == "no plain Conv2d with same padding"
    assert "head.multi_final_layers.0" not in report.left
    assert "left backbone.stem.1.0: it has forward hooks" in str(report)


@pytest.mark.parametrize(
    ("name", "value"),
    [("with_cp", True), ("relu", nn.SiLU()), ("attention", nn.Dropout()), ("downsample", nn.AvgPool2d(1))],
)
def test_variants_of_blocks(name: str, value: object) -> None:
    block = ForeignBlock(4, 4)
    setattr(block, name, value)
    plain, fused = pair_of(block)
    assert_same(hgfast.fuse(fused), plain, images(2, 4, 6, 6))


def test_single_block_and_sequences() -> None:
    block = ForeignBlock(4, 6, 2, nn.Sequential(nn.Conv2d(4, 6, 1, 2, bias=False), nn.BatchNorm2d(6)))
    assert hgfast.fuse(block) is block and block.fusion.replaced == {"": "1 operation: 3 convolutions, 3 BatchNorms"}
    assert hgfast.unfuse(block) is block and type(block) is ForeignBlock
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, (1, 3)),
    ).double()  # fmt: skip
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    expected = copy.deepcopy(layers)(x)
    fused = hgfast.fuse(layers)
    assert fused is layers and list(fused.fusion.left) == ["9"]
    torch.testing.assert_close(fused(x), expected)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got str"):
        hgfast.fuse("hourglass52")
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got dict"):
        hgfast.unfuse({})


@pytest.mark.parametrize("family", FAMILIES)
def test_own_models_both_ways(family: str) -> None:
    reference, built = (apply_recipe(small_model(family, kind), 2).double() for kind in ("reference", "fused"))
    fused = hgfast.fuse(copy.deepcopy(reference))
    plain = hgfast.unfuse(copy.deepcopy(built))
    assert not any(type(m).__module__.startswith("hgfast.nn") for m in plain.modules())
    expected = step(reference, torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.manual_seed(0)))
    for model in (fused, hgfast.fuse(built), plain, hgfast.fuse(plain)):
        got = step(model, torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.manual_seed(0)))
        for name, value in expected.items():
            if name.startswith("grad"):
                torch.testing.assert_close(got[name], value, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_foreign_network_can_be_frozen_to_inference_form(family: str) -> None:
    model = network(family).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = heatmaps(model, images)[-1]
    frozen = hgfast.freeze(hgfast.fuse(model))
    torch.testing.assert_close(frozen(images)[-1], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "default", "least"), [("hourglass52", 0.74, 0.57), ("hg2", 0.53, 0.53)])
def test_saved_activations(name: str, default: float, least: float) -> None:
    """Bytes that autograd keeps, parameters apart, against eager PyTorch in the same network."""

    def saved(model: nn.Module) -> int:
        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        kept = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.randn(1, 3, 128, 256))
        return sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in parameters)

    model = models.build(name, implementation="reference")
    eager = saved(model)
    assert saved(hgfast.fuse(model)) <= default * eager
    assert saved(hgfast.fuse(model, recompute=True)) <= least * eager
