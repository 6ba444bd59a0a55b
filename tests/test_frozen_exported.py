"""freeze of programs of torch.export, and of modules that only torch.export can capture."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, export
from torch.utils._pytree import tree_flatten

import hgfast
from hgfast import FrozenModel
from hgfast.frozen.graph import ConvCall
from hgfast.frozen.torch_call import TorchCall
from hgfast.graph import Interpreter
from hgfast.graph.exported import exported
from tests.graph_models import Of
from tests.recipe import apply_recipe
from tests.test_frozen_arguments import Guided, Two, assert_alike, guided, images
from tests.tolerances import relative_error
from tests.zoo.count import torch_convolutions
from tests.zoo.table import NETWORKS, results, with_random_numbers

SOME = ("hourglass52", "HRNet-W32 (MM", "Simple", "SE-", "hourglass104 with cor", "hourglass that")
ZOO = [network for network in NETWORKS if network.name.startswith(SOME)]


@pytest.mark.parametrize("network", ZOO, ids=lambda network: network.name)
def test_networks_of_the_zoo(network: Any) -> None:
    """As many convolutions in kernels as by torch.fx."""
    model, pictures = with_random_numbers(network.small()).eval(), network.images(2)
    frozen = hgfast.freeze(export(model, (pictures,)))
    other = torch.randn_like(pictures)
    with torch.no_grad():
        for a, b in zip(results(frozen(other)), results(model(other)), strict=True):
            assert relative_error(a, b) < 1e-5
    assert network.convolutions - torch_convolutions(lambda: frozen(other)).total() == network.frozen


@pytest.mark.parametrize(("model", "args", "kwargs"), [(Two(), (), images()), (Guided(), guided(), {})])
def test_containers(model: nn.Module, args: Any, kwargs: Any) -> None:
    model = apply_recipe(model, 2).eval()
    args, kwargs = ((kwargs["x"],), {"more": kwargs["more"]}) if kwargs else (args, kwargs)
    program = export(model, args, kwargs)
    found = exported(program)
    with torch.no_grad():
        for a, b in zip(
            tree_flatten(found.module(*args, **kwargs))[0], tree_flatten(model(*args, **kwargs))[0], strict=True
        ):
            assert torch.equal(a, b)
        assert {*found.module.state_dict()} == {*model.state_dict()}
        assert Interpreter(found.module, found.graph)(*args, **kwargs) is not None
    frozen = hgfast.freeze(program)
    assert_alike(model, frozen, *args, **kwargs)
    twin = pickle.loads(pickle.dumps(frozen))
    for a, b in zip(tree_flatten(twin(*args, **kwargs))[0], tree_flatten(frozen(*args, **kwargs))[0], strict=True):
        assert torch.equal(a, b)


def dynamic() -> tuple[nn.Module, FrozenModel]:
    model = apply_recipe(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()), 2).eval()
    sizes = {0: Dim("n", min=1, max=9), 2: Dim("h", min=4, max=100), 3: Dim("w", min=4)}
    return model, hgfast.freeze(export(model, (torch.randn(2, 3, 16, 16),), dynamic_shapes=(sizes,)))


def test_sizes_are_those_that_were_exported(tmp_path: Path) -> None:
    model, frozen = dynamic()
    assert all(isinstance(call, ConvCall) for call in frozen.graph.calls)
    for size in ((1, 4, 30), (9, 100, 5)):
        assert_alike(model, frozen, torch.randn(size[0], 3, *size[1:]))
    frozen.save(tmp_path / "x.pt")
    for network in (frozen, FrozenModel.load(tmp_path / "x.pt")):
        with pytest.raises(ValueError, match="^input must have from 1 to 9 in dimension 0, got shape"):
            network(torch.randn(10, 3, 8, 8))
        with pytest.raises(ValueError, match="^input must have 3 channels, got shape"):
            network(torch.randn(1, 4, 8, 8))
        with pytest.raises(ValueError, match="^input must have at least 4 in dimension 3, got shape"):
            network(torch.randn(1, 3, 8, 3))
    fixed = hgfast.freeze(export(model, (torch.randn(2, 3, 16, 16),)))
    with pytest.raises(ValueError, match="^input must have 2 in dimension 0, got shape"):
        fixed(torch.randn(1, 3, 16, 16))


def test_sizes_that_code_takes_from_values() -> None:
    def forward(m: Of, x: Tensor) -> Tensor:
        y = F.max_pool2d(m.relu(m.bn(m.conv(x))), 2)
        return m.other(F.interpolate(m.other(y), size=x.shape[2:])).flatten(2).mean(2)

    model = apply_recipe(Of(forward), 2).eval()

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)

    one = One().eval()
    sizes = {2: 2 * Dim("h", min=2, max=64), 3: 2 * Dim("w", min=2, max=64)}
    frozen = hgfast.freeze(export(one, (torch.randn(2, 3, 16, 24),), dynamic_shapes=(sizes,)))
    assert_alike(one, frozen, torch.randn(2, 3, 24, 8))


class Deciding(nn.Module):
    """Decides by sizes, which torch.fx does not follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor, times: int = 1) -> Tensor:
        y = F.relu(self.bn(self.conv(x)))
        return y[:, :, ::2] if x.shape[2] > 8 * times else y


def test_torch_export_captures_what_fx_does_not() -> None:
    model = apply_recipe(Deciding(), 2).train()
    with pytest.raises(ValueError, match="cannot be captured as a graph: its forward decides"):
        hgfast.freeze(model)
    frozen = hgfast.freeze(model, example=torch.randn(2, 3, 16, 8))
    assert model.training and any(isinstance(call, ConvCall) for call in frozen.graph.calls)
    assert_alike(model.eval(), frozen, torch.randn(2, 3, 16, 8))
    with pytest.raises(ValueError, match="^x must have 16 in dimension 2, got shape"):
        frozen(torch.randn(2, 3, 8, 8))


def test_what_neither_captures() -> None:
    model = Of(lambda m, x: m.conv(x) if x.sum() > 0 else x)
    with pytest.raises(ValueError, match="captured as a graph: its forward decides.*; nor does torch.export take it: "):
        hgfast.freeze(model, example=torch.randn(2, 3, 8, 8))


def test_programs_that_train_are_refused() -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout()), torch.randn(2, 3, 4, 4)
    with pytest.raises(ValueError, match="freeze: the exported program is for training; export the model in eval"):
        hgfast.freeze(export(model.train(), (x,)))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match="freeze: the exported program .*; export the model in evaluation mode"):
        hgfast.freeze(export(model.train(), (x,)))


def test_operators_without_a_rule_are_torchs() -> None:
    model = apply_recipe(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.PReLU(), nn.Conv2d(4, 4, 1)), 2).eval()
    frozen = hgfast.freeze(export(model, (torch.randn(2, 3, 8, 8),)))
    assert [type(call) for call in frozen.graph.calls] == [ConvCall, TorchCall, ConvCall]
    assert_alike(model, frozen, torch.randn(2, 3, 8, 8))
