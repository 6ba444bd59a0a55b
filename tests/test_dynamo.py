"""torch.compile(backend="hgfast"): eager's results by frozen networks, changed weights seen, others' parts left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

import hgfast
from hgfast.dynamo import backend, lowered, other, run
from hgfast.frozen.assemble import assemble
from hgfast.graph import ops
from tests.recipe import apply_recipe
from tests.small_models import FAMILIES, small_model
from tests.tolerances import relative_error
from tests.zoo.count import torch_convolutions
from tests.zoo.resnet import BasicBlock
from tests.zoo.table import NETWORKS, results, with_random_numbers

ROOT = Path(__file__).parents[1]
ZOO = [
    n
    for n in NETWORKS
    if n.name.startswith(("hg8 (princeton", "hourglass52", "HRNet-W32 (M", "Simple", "SE-", "hourglass of"))
]


class Small(nn.Module):
    """Convolutions with what stands around them, three results."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.other = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 2, 1)
        self.register_buffer("factor", torch.full((8, 1, 1), 2.0))

    def forward(self, x: Tensor, more: Tensor | None = None) -> Any:
        y = F.relu(self.bn(self.conv(x)), inplace=True)
        z = self.other(y)
        up = F.interpolate(z, size=y.shape[2:])
        return {"sum": y + up, "scaled": up * self.factor, "low": z if more is None else z + more}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that were left to another, which is eager here."""
    found: list[Any] = []
    by_another = other.by_another
    monkeypatch.setattr(other, "inductor_compiles", lambda kind: False)
    monkeypatch.setattr(other, "by_another", lambda *given: found.append(given) or by_another(*given))
    return found


@pytest.fixture
def lowerings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The lowerings, those of changed weights too."""
    found: list[Any] = []
    monkeypatch.setattr(lowered, "assemble", lambda *given: found.append(given) or assemble(*given))
    return found


def small() -> nn.Module:
    return apply_recipe(Small(), 3).eval()


def assert_alike(compiled: Callable[..., Any], model: nn.Module, *args: Any) -> None:
    """Also in layout, which code behind the graph may ask for."""
    (got, kind), (expected, same_kind) = tree_flatten(compiled(*args)), tree_flatten(model(*args))
    assert kind == same_kind
    for a, b in zip(got, expected, strict=True):
        assert a.stride() == b.stride() and a.dtype == b.dtype and relative_error(a, b) < 1e-5


@pytest.mark.parametrize("network", ZOO, ids=lambda network: network.name)
def test_networks_of_the_zoo(network: Any, left: list[Any]) -> None:
    model, images = with_random_numbers(network.small()).eval(), network.images(2)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    with torch.no_grad():
        for a, b in zip(results(compiled(images)), results(model(images)), strict=True):
            assert relative_error(a, b) < 1e-5 and a.stride() == b.stride()
        by_torch = torch_convolutions(lambda: compiled(images)).total()
    assert not left and network.convolutions - by_torch == network.frozen


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_fused_modules(family: str, left: list[Any]) -> None:
    model, images = (
        apply_recipe(small_model(family, "fused", num_stacks=1 + (family == "mmpose"), shallow=True), 7).eval(),
        torch.randn(2, 3, 64, 64),
    )
    compiled, frozen = torch.compile(model, backend=backend), hgfast.freeze(model)
    with torch.no_grad():
        assert_alike(compiled, model, images)
        for a, b in zip(compiled(images), frozen(images), strict=True):
            assert torch.equal(a, b)
    assert not left


CHANGES: dict[str, Callable[[Any], Any]] = {
    "in place": lambda m: m.conv.weight.mul_(1.5),
    "data": lambda m: m.other.bias.data.add_(1),
    "other data": lambda m: setattr(m.conv.weight, "data", m.conv.weight.data + 1),
    "numpy": lambda m: m.conv.weight.detach().numpy().__imul__(2),
    "statistics": lambda m: m.bn.running_var.data.fill_(9),
    "load": lambda m: m.load_state_dict({name: value + 1 for name, value in m.state_dict().items()}),
    "another parameter": lambda m: setattr(m, "conv", nn.Conv2d(3, 8, 3, padding=1)),
    "what no kernel holds": lambda m: m.factor.data.mul_(3),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights_are_seen(change: Callable[[Any], Any], left: list[Any]) -> None:
    model, images = small(), torch.randn(2, 3, 16, 24)
    compiled = torch.compile(model, backend=backend)
    with torch.no_grad():
        assert_alike(compiled, model, images)
        before = compiled(images)["scaled"]
        change(model)
        assert_alike(compiled, model, images)
        assert relative_error(compiled(images)["scaled"], before) > 1e-3 and not left


def test_weights_are_folded_once_as_long_as_they_stay(lowerings: list[Any]) -> None:
    model, images = small(), torch.randn(1, 3, 8, 8)
    compiled = torch.compile(model, backend=backend)
    with torch.no_grad():
        for _ in range(3):
            compiled(images)
        assert len(lowerings) == 1
        model.conv.weight.mul_(2)
        for _ in range(3):
            compiled(images)
        assert len(lowerings) == 2


def test_versions_alone_can_be_asked_for(lowerings: list[Any]) -> None:
    model, images = small(), torch.randn(1, 3, 8, 8)
    compiled = torch.compile(model, backend=backend, options={"check_weights": "versions"})
    with torch.no_grad():
        assert_alike(compiled, model, images)
        model.conv.weight.mul_(2)
        assert_alike(compiled, model, images)
        assert len(lowerings) == 2
        model.conv.weight.data.mul_(2)  # which the option does not see
        compiled(images)
    assert len(lowerings) == 2


def test_modules_of_one_class_share_a_graph_and_keep_their_weights(lowerings: list[Any]) -> None:
    torch.manual_seed(0)
    blocks = nn.ModuleList(BasicBlock(4, 4) for _ in range(3))
    apply_recipe(blocks, 1).eval()
    plain, images = nn.Sequential(*blocks), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        expected = plain(images)
        for block in blocks:
            block.compile(backend=backend)
        for _ in range(2):
            y = images
            for block in blocks:
                y = block(y)
            assert relative_error(y, expected) < 1e-5
    assert len(lowerings) == 3


def test_training_is_left_alone_and_evaluation_comes_back(left: list[Any]) -> None:
    model, images = small(), torch.randn(2, 3, 16, 16)
    compiled = torch.compile(model, backend=backend)
    twin = apply_recipe(Small(), 3)
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (model, twin)]
    with torch.no_grad():
        assert_alike(compiled, model, images)
    assert not left
    for module, call, optimizer in zip((model, twin), (compiled, twin), optimizers, strict=True):
        module.train()
        sum(y.square().mean() for y in call(images).values()).backward()
        optimizer.step()
    assert len(left) == 1
    for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        model.eval()
        assert_alike(compiled, twin.eval(), images)
    assert len(left) == 1


def test_gradients_in_evaluation_are_others(left: list[Any]) -> None:
    model, images = small(), torch.randn(1, 3, 8, 8)
    compiled = torch.compile(model, backend=backend)
    compiled(images)["sum"].sum().backward()
    assert len(left) == 1 and model.conv.weight.grad is not None
    model.requires_grad_(False)
    assert_alike(compiled, model, images)
    assert not compiled(images)["sum"].requires_grad
    taken = images.clone().requires_grad_()
    compiled(taken)["sum"].sum().backward()
    assert taken.grad is not None


def test_gradients_asked_for_after_a_call_without(left: list[Any]) -> None:
    model, images = small().requires_grad_(False), torch.randn(1, 3, 8, 8)
    compiled = torch.compile(model, backend=backend)
    assert_alike(compiled, model, images)
    model.requires_grad_(True)
    compiled(images)["sum"].sum().backward()
    assert model.conv.weight.grad is not None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes(mode: Any, left: list[Any]) -> None:
    model, images = small(), torch.randn(1, 3, 8, 8)
    with mode():
        compiled = torch.compile(model, backend=backend)
        assert_alike(compiled, model, images)
        assert compiled(images)["sum"].is_inference() == (mode is torch.inference_mode)
    inside = torch.compile(mode()(model.forward), backend=backend)
    assert_alike(inside, model, images)


def test_sizes_that_change(left: list[Any], lowerings: list[Any]) -> None:
    model = small()
    compiled = torch.compile(model, backend=backend, dynamic=True)
    with torch.no_grad():
        for size in ((2, 16, 24), (3, 32, 8), (2, 16, 24), (1, 8, 8)):
            assert_alike(compiled, model, torch.randn(size[0], 3, *size[1:]))
        marked = torch.randn(5, 3, 10, 12)
        torch._dynamo.mark_dynamic(marked, 0)
        assert_alike(compiled, model, marked)
        for side in range(2 * run.MOST_SIZES):
            compiled(torch.randn(2, 3, 4 + 2 * side, 8))
    assert not left
    for _, _, flow, *_ in lowerings:  # sizes are numbers in it, which lets kernels repeat
        assert not any(
            isinstance(node.op, ops.Opaque) for node in flow.nodes.values() if node.call.target is F.interpolate
        )


def test_layouts(left: list[Any]) -> None:
    model = small().to(memory_format=torch.channels_last)
    compiled = torch.compile(model, backend=backend)
    with torch.no_grad():
        assert_alike(compiled, model, torch.randn(2, 3, 16, 16))
        assert_alike(compiled, model, torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last))
        assert_alike(compiled, model, torch.randn(2, 3, 16, 32)[..., ::2])
    assert not left


def test_several_inputs_and_a_break_between_graphs(left: list[Any]) -> None:
    model = small()

    def call(x: Tensor, more: Tensor) -> Tensor:
        found = model(x, more)
        torch._dynamo.graph_break()
        return model.other(found["sum"]) + found["low"]

    compiled = torch.compile(call, backend=backend)
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            x, more = torch.randn(2, 3, 16, 16), torch.randn(1, 8, 1, 1, dtype=dtype)
            got, expected = compiled(x, more), call(x, more)
            assert got.dtype == expected.dtype and relative_error(got, expected) < 1e-5
    assert not left


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes_without_kernels(dtype: torch.dtype, left: list[Any]) -> None:
    model = small().to(dtype)
    with torch.no_grad():
        compiled, images = torch.compile(model, backend=backend), torch.randn(1, 3, 8, 8, dtype=dtype)
        assert torch.equal(compiled(images)["sum"], model(images)["sum"])
    assert len(left) == 1


def test_autocast(left: list[Any]) -> None:
    model, images = small(), torch.randn(1, 3, 8, 8)
    compiled = torch.compile(model, backend=backend)
    with torch.no_grad():
        assert_alike(compiled, model, images)
        with torch.autocast("cpu", torch.bfloat16):
            assert compiled(images)["low"].dtype == torch.bfloat16
    assert len(left) == 1
