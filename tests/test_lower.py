"""Networks of any form frozen: the same numbers in the same containers, what is fused into what, what is torch's."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

import hgfast
from hgfast import FrozenModel
from hgfast.frozen.graph import ConvCall
from hgfast.frozen.sums import from_transposed
from tests.graph_models import NETWORKS, Of
from tests.lower_models import Exchange, assert_frozen_alike, frozen_of, kinds
from tests.random_networks import RandomNetwork
from tests.recipe import apply_recipe
from tests.tolerances import relative_error
from tests.zoo.fan import ConvBlock, conv3x3
from tests.zoo.resnet import BasicBlock

IMAGE_NETWORKS = sorted(set(NETWORKS) - {"pair", "attention", "aliases"})  # these have tests of their own


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_networks_of_many_forms(name: str) -> None:
    model, (images,), _ = NETWORKS[name]()
    frozen = hgfast.freeze(model)
    for size in ((2, 32, 64), (1, 64, 32)):
        assert_frozen_alike(model, frozen, torch.randn(size[0], 3, *size[1:]))
    twin = copy.deepcopy(frozen) if name == "parametrized" else pickle.loads(pickle.dumps(frozen))  # as torch's own
    for a, b in zip(tree_flatten(twin(images))[0], tree_flatten(frozen(images))[0], strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


def test_an_example_says_what_a_network_takes() -> None:
    model, (images,), _ = NETWORKS["attention"]()
    with pytest.raises(ValueError, match=r"model must take images \(N, 3, H, W\); .* raised RuntimeError: mat1"):
        hgfast.freeze(model)
    assert_frozen_alike(model, hgfast.freeze(model, example=images), images)
    with pytest.raises(TypeError, match="example must be a Tensor or tuple or dict, got list"):
        hgfast.freeze(model, example=[images])  # type: ignore[arg-type]


def test_networks_of_other_inputs_are_refused() -> None:
    model, _, _ = NETWORKS["pair"]()
    with pytest.raises(ValueError, match=r"model must take images \(N, 3, H, W\); .* raised IndexError"):
        hgfast.freeze(model)


def test_what_is_fused_in_an_exchange_of_resolutions() -> None:
    model, frozen = frozen_of(Exchange())
    graph = frozen.graph
    convolutions = [call for call in graph.calls if isinstance(call, ConvCall)]
    assert len(convolutions) == sum(isinstance(part, nn.Conv2d) for part in model.modules())
    assert sum(call.upsample_to is not None for call in convolutions) == 3  # twice as large; the others by torch
    assert set(kinds(graph)) == {"ConvCall", "upsampled sum", "PointwiseCall"}
    assert not any(call.relu and call.upsample_to is not None for call in convolutions)
    assert (graph.unit, graph.slack, graph.any_size) == (32, 3, False)
    assert_frozen_alike(model, frozen, torch.randn(1, 3, 61, 96))
    with pytest.raises(ValueError, match="multiple of 32"):
        frozen(torch.randn(1, 3, 48, 96))


def test_blocks_of_concatenations() -> None:
    model, frozen = frozen_of(nn.Sequential(conv3x3(3, 8), ConvBlock(8, 16), ConvBlock(16, 16)))
    assert sum(isinstance(call, ConvCall) for call in frozen.graph.calls) == 8
    assert kinds(frozen.graph).count("concatenation") == 2
    assert sum(call.second is not None for call in frozen.graph.calls) == 6
    assert_frozen_alike(model, frozen, torch.randn(1, 3, 9, 5))


@pytest.mark.parametrize(("side", "padding", "more"), [(4, 1, 0), (3, 1, 1), (2, 0, 0)])
def test_transposed_convolutions_that_double_the_size(side: int, padding: int, more: int) -> None:
    deconv = nn.ConvTranspose2d(6, 5, side, 2, padding, more)
    model, frozen = frozen_of(nn.Sequential(conv3x3(3, 6), deconv, nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1)))
    assert kinds(frozen.graph) == ["ConvCall", "ConvCall", "pixels to their places", "ConvCall"]
    assert_frozen_alike(model, frozen, torch.randn(2, 3, 7, 6))
    assert from_transposed(torch.zeros(1, 1, 8, 8), 3) is None


@pytest.mark.parametrize("deconv", [nn.ConvTranspose2d(6, 4, 4, 2, 0), nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=2)])
def test_other_transposed_convolutions_are_torchs(deconv: nn.Module) -> None:
    model, frozen = frozen_of(nn.Sequential(conv3x3(3, 6), deconv))
    assert "transposed convolution" in kinds(frozen.graph)[1]
    assert_frozen_alike(model, frozen, torch.randn(2, 3, 6, 6))


def views(m: Of, x: Tensor) -> Any:
    y = m.relu(m.conv(x))
    part = y[:, 1:4, ::2]  # of memory that is used again before it is read
    z = m.other(m.relu(m.other(y)))
    return part * 2, m.other(z)


def written_later(m: Of, x: Tensor) -> Tensor:
    y = m.conv(x)
    z = m.other(y)
    y.mul_(2)
    return m.other(y) + z


def written_input(m: Of, x: Tensor) -> Tensor:
    x += 1
    return m.conv(x.relu_())


def sum_with_itself(m: Of, x: Tensor) -> Tensor:
    y = m.conv(x)
    return m.other(y + y) + F.interpolate(m.other(F.max_pool2d(y, 2)), scale_factor=2)


def three_terms(m: Of, x: Tensor) -> Tensor:
    y = m.relu(m.conv(x))
    low = F.max_pool2d(y, 2)
    return F.relu(m.other(y) + y + F.interpolate(m.other(low) + low, scale_factor=2) + m.norm(y))


def given_twice(m: Of, x: Tensor) -> Any:
    y = m.conv(x)
    return {"a": [y, x], "b": (y, y.relu()), "n": 3}


@pytest.mark.parametrize("forward", [views, written_later, written_input, sum_with_itself, three_terms, given_twice])
def test_forms_that_are_easily_mistaken(forward: Callable[..., Any]) -> None:
    model, frozen = frozen_of(Of(forward))
    with torch.no_grad():
        images = torch.randn(2, 3, 16, 20)
        expected = tree_flatten(copy.deepcopy(model)(images.clone()))
        got = tree_flatten(frozen(images))
    assert expected[1] == got[1]
    for a, b in zip(got[0], expected[0], strict=True):
        assert relative_error(a, b) < 1e-5 if isinstance(a, Tensor) else a == b


def test_what_is_seen_through_other_views_is_refused() -> None:
    model, _, _ = NETWORKS["aliases"]()
    with pytest.raises(ValueError, match="no frozen form: "):
        hgfast.freeze(model)
    model.given = _written_through_a_view
    with pytest.raises(ValueError, match="no frozen form: mul writes into a tensor that is read later"):
        hgfast.freeze(model)


def _written_through_a_view(m: Of, x: Tensor) -> Tensor:
    y = m.conv(x)
    y[:, :3].mul_(2)
    return m.other(y)


def test_files_hold_containers(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.ModuleList([BasicBlock(3, 3), conv3x3(3, 5)])

        def forward(self, x: Tensor) -> Any:
            x = self.body[0](x)
            return {"maps": (self.body[1](x), [x]), "stride": 1}

    model, frozen = frozen_of(Net())
    frozen.save(tmp_path / "x.pt")
    loaded = FrozenModel.load(tmp_path / "x.pt")
    assert_frozen_alike_in_parts(loaded, model)
    data = torch.load(tmp_path / "x.pt", weights_only=True)
    assert data["version"] == 2
    for result in ({"output": 7}, {"list": 3}, 5, {"output": 0, "list": []}):
        torch.save({**data, "result": result}, tmp_path / "y.pt")
        with pytest.raises(ValueError, match="y.pt is damaged: result must be"):
            FrozenModel.load(tmp_path / "y.pt")


def assert_frozen_alike_in_parts(frozen: nn.Module, model: nn.Module) -> None:
    images = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        got, expected = frozen(images), model(images)
    assert got["stride"] == 1 and isinstance(got["maps"], tuple)
    for a, b in zip(tree_flatten(got)[0], tree_flatten(expected)[0], strict=True):
        assert a == b if isinstance(a, int) else relative_error(a, b) < 1e-5


def test_data_parallel_is_looked_into() -> None:
    model = apply_recipe(nn.Sequential(conv3x3(3, 4), nn.BatchNorm2d(4)), 1).eval()
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(hgfast.freeze(nn.DataParallel(model))(images), hgfast.freeze(model)(images))


def test_depthwise_convolutions_take_the_batch_norm_behind_them_along() -> None:
    depthwise = [nn.Conv2d(6, 6, 3, 2, 1, groups=6, bias=False), nn.BatchNorm2d(6), nn.ReLU6(inplace=True)]
    model, frozen = frozen_of(nn.Sequential(conv3x3(3, 6), *depthwise, nn.Conv2d(6, 4, 1)))
    assert kinds(frozen.graph) == ["ConvCall", "convolution in 6 groups + BN", "relu6 activation", "ConvCall"]
    assert_frozen_alike(model, frozen, torch.randn(2, 3, 9, 8))
    assert "4 calls, 2 of them by torch" in frozen.describe(1, 8, 8)


def trains_always(m: Of, x: Tensor) -> Tensor:
    y = m.conv(x)
    return F.batch_norm(y, m.bn.running_mean, m.bn.running_var, m.bn.weight, m.bn.bias, True)


def test_the_model_is_as_it_was() -> None:
    model = apply_recipe(Of(trains_always), 2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    with torch.inference_mode():
        hgfast.freeze(model)
    assert torch.equal(torch.get_rng_state(), generator) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modules_with_hooks_run_as_they_stand_between_kernels() -> None:
    seen: list[Tensor] = []
    module = nn.Sequential(conv3x3(3, 4), nn.Sequential(conv3x3(4, 4), nn.ReLU()), conv3x3(4, 4))
    module[1].register_forward_hook(lambda m, i, o: seen.append(o))
    model, frozen = frozen_of(module)
    assert kinds(frozen.graph) == ["ConvCall", "Sequential", "ConvCall"]
    frozen(torch.randn(1, 3, 8, 8))
    assert type(seen[-2]) is Tensor  # zeros, by which the plan learns the shape
    seen.clear()
    frozen(torch.randn(1, 3, 8, 8))
    assert len(seen) == 1


def test_what_is_not_all_maps() -> None:
    """Tensors of four dimensions that are no maps: other dtypes, and another number of them than images."""

    def forward(m: Of, x: Tensor) -> Any:
        y = m.conv(x)
        patches = y.reshape(-1, 6, y.shape[2] // 2, y.shape[3])
        return m.other(patches + patches), (y > 0) & (y < 1), y.double() + y.double(), torch.cat([y, y])

    model, frozen = frozen_of(Of(forward))
    images = torch.randn(2, 3, 8, 6)
    with torch.no_grad():
        for a, b in zip(frozen(images), model(images), strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape and (a.double() - b.double()).abs().max() < 1e-4


@pytest.mark.parametrize("seed", range(16))
def test_random_networks(seed: int) -> None:
    model, images = apply_recipe(RandomNetwork(seed), seed).eval(), torch.randn(2, 3, 32, 16)
    with torch.no_grad():
        expected = model(images.clone())
    for a, b in zip(hgfast.freeze(model)(images), expected, strict=True):
        assert relative_error(a, b) < 1e-4
