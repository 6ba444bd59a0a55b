"""hgfast.graph: networks captured and run again by torch's own calls give their own numbers."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from hgfast.graph import CapturedGraph, Interpreter, capture, ops
from tests import look_alikes
from tests.foreign_models import foreign_model
from tests.graph_models import NETWORKS
from tests.look_alikes import CLASSES, FORWARDS, Block, look_alike
from tests.recipe import apply_recipe
from tests.small_models import FAMILIES, small_model
from tests.zoo.resnet import Bottleneck, ResNet


def seeded(run: Callable[[], Any]) -> Any:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002 (what foreign code draws from)
    return run()


def outcome(run: Callable[..., Any], module: nn.Module, args: Any, training: bool) -> list[Tensor]:
    """Results, the input afterwards, gradients of input and parameters, and buffers; where it raises, nothing."""
    args = tree_map_only(Tensor, lambda x: x.clone().requires_grad_(training and x.is_floating_point()), args)
    given = tree_map_only(Tensor, lambda x: x * 1 if training else x, args)  # what is written to is no leaf
    with torch.set_grad_enabled(training):
        results = [y for y in tree_flatten(seeded(lambda: run(*given)))[0] if isinstance(y, Tensor)]
    found = [*results, *(x for x in tree_flatten(given)[0] if isinstance(x, Tensor))]
    asking = [y for y in results if y.requires_grad]
    if asking:
        sum((y.float() ** 2).sum() for y in asking).backward()
        found += [x.grad for x in (*tree_flatten(args)[0], *module.parameters()) if isinstance(x, Tensor)]
    return [x for x in (*found, *module.buffers()) if x is not None]


def assert_same(module: nn.Module, graph: CapturedGraph, args: Any, training: bool) -> None:
    one, two = (copy.deepcopy(module).train(training) for _ in range(2))
    expected, found = outcome(one, one, args, training), outcome(Interpreter(two, graph), two, args, training)
    assert len(expected) == len(found)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_many_forms(name: str, training: bool) -> None:
    module, args, opaque = NETWORKS[name]()
    graph = capture(module, args)
    assert_same(module, graph, args, training)
    assert (bool(graph.stops) or graph.count(ops.Opaque) > 0) == opaque, str(graph)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("make", ["reference", "foreign"])
def test_hourglasses(family: str, make: str) -> None:
    module = foreign_model(family) if make == "foreign" else small_model(family, "reference")
    images = torch.randn(2, 3, 64, 64)
    args = (images.permute(0, 2, 3, 1).contiguous(),) if hasattr(module, "nstack") else (images,)
    graph = capture(apply_recipe(module, 1))
    assert not graph.stops
    for training in (False, True):
        assert_same(module, graph, args, training)


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_modules_are_captured_as_what_they_compute(family: str) -> None:
    fused, plain = (capture(small_model(family, kind)) for kind in ("fused", "reference"))
    known = [[node.op for node in graph.nodes if not isinstance(node.op, ops.Identity)] for graph in (fused, plain)]
    assert known[0] == known[1]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("forward", FORWARDS, ids=lambda forward: forward.__name__)
def test_look_alikes(forward: Callable[..., Any], training: bool) -> None:
    module, args = apply_recipe(nn.Sequential(look_alike(forward)), 2), (torch.randn(2, 4, 8, 8),)
    graph = capture(module, (*args,))
    try:
        copy.deepcopy(module).train(training)(*args)
    except (AssertionError, KeyError, IndexError) as error:
        with pytest.raises(type(error)):
            Interpreter(module.train(training), graph)(*args)
        return
    assert_same(module, graph, args, training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", CLASSES)
def test_look_alike_classes(kind: type[Block], training: bool) -> None:
    module = apply_recipe(kind(), 2)
    assert_same(module, capture(module), (torch.randn(2, 4, 8, 8),), training)


def test_what_stops_a_trace_is_said_with_its_line() -> None:
    graph = capture(nn.Sequential(look_alike(look_alikes.asks_for_values), nn.Conv2d(4, 4, 1)))
    stop = graph.stops["0"]
    assert "decides by what depends on data" in stop.reason and "look_alikes.py:" in stop.line
    assert [type(node.op) for node in graph.nodes] == [ops.Input, ops.Opaque, ops.Conv]
    two_ways = capture(nn.Sequential(look_alike(look_alikes.other_in_training)))
    assert "different ways in training and in evaluation" in str(two_ways.stops["0"])
    random_depth = capture(nn.Sequential(look_alike(look_alikes.rare_depth)))
    assert "draws random numbers" in str(random_depth.stops["0"])
    assert not capture(nn.Sequential(look_alike(look_alikes.rare_depth)), training=False).stops


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (look_alikes.counts, "changes its attribute count"),
        (look_alikes.stores_in_list, "changes its attribute kept"),
        (look_alikes.other_without_gradient, "asks for is_grad_enabled"),
        (look_alikes.without_gradient, "switches gradients, autocast or"),
        (look_alikes.in_full_precision, "asks for autocast"),
        (look_alikes.checkpointed, "switches gradients, autocast or"),
        (look_alikes.doubled_gradient, "switches gradients, autocast or"),
    ],
)
def test_boundaries(forward: Callable[..., Any], reason: str) -> None:
    module = nn.Sequential(look_alike(forward))
    before = {name: dict(vars(part)) for name, part in module.named_modules()}
    assert reason in str(capture(module).stops["0"])
    for name, part in module.named_modules():
        assert all(vars(part)[key] is value for key, value in before[name].items())


def test_hooks_and_forwards_of_instances_are_boundaries() -> None:
    module = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), Block(), nn.Conv2d(4, 4, 1))
    seen: list[Tensor] = []
    module[0].register_forward_hook(lambda m, i, o: seen.append(o))
    module[1].forward = lambda x: x * 2  # type: ignore[method-assign]
    graph = capture(module)
    assert set(graph.stops) == {"0", "1"} and "forward hooks" in str(graph.stops["0"])
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(Interpreter(module, graph)(x), module(x)) and len(seen) == 2
    assert not graph.parts  # there are single layers in them only


def test_submodules_of_what_cannot_be_traced_are_captured() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = nn.ModuleList([Block(), Block()])

        def forward(self, x: Tensor) -> Tensor:
            return self.stages[int(x.sum() > 0)](x)

    graph = capture(Net())
    assert set(graph.parts) == {"stages.0", "stages.1"} and "" in graph.stops
    assert graph.count(ops.Conv) == 4 and graph.nodes[-1].call.target == ""
    assert_same(Net(), graph, (torch.randn(1, 4, 4, 4),), True)


def test_parts_are_listed_once() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.inner = Block(), nn.Sequential(look_alike(look_alikes.asks_for_values), Block())

        def forward(self, x: Tensor) -> Tensor:
            x = self.inner(x)
            return x if x.sum() > 0 else self.a(x)

    graph = capture(Outer())
    assert set(graph.stops) == {"", "inner.0"} and set(graph.parts) == {"a", "inner"}
    assert graph.count(ops.Conv) == 4  # those of inner.0 are in no graph: single layers of what cannot be traced


def test_what_the_nodes_are() -> None:
    module = ResNet(Bottleneck, (1, 1, 1, 1), 4).eval()
    graph = capture(module)
    conv = next(node for node in graph.nodes if node.name == "layer1.0.conv2")
    op = ops.Conv("layer1.0.conv2.weight", None, (1, 1), (1, 1), (1, 1), 1)
    assert conv.op == op and conv.modules == ("layer1.0.conv2",) and conv.scope == "layer1.0"
    assert graph.count(ops.Pool) == 2 and graph.training is None and "conv2" in str(graph)
    assert capture(module, training=False).training is False


def test_parameters_are_taken_as_they_are_at_the_run() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    run, x = Interpreter(module, capture(module)), torch.randn(1, 3, 4, 4)
    before = run(x)
    nn.init.ones_(module[0].weight)
    assert not torch.equal(run(x), before) and torch.equal(run(x), module(x))


def test_captures_do_not_touch_other_threads_state_or_generators() -> None:
    module = nn.Sequential(look_alike(look_alikes.rare_depth_by_numpy), nn.Dropout())
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    hook = nn.modules.module.register_module_forward_hook(lambda m, i, o: None)
    capture(module)
    assert len(nn.modules.module._global_forward_hooks) == 1
    hook.remove()
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and before[1] == after[1] and (before[2] == after[2]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), "module must be a Module, got int"),
        ((nn.ReLU(), [3]), "example must be a tuple or dict"),
        ((nn.ReLU(), None, 1), "training must be True or False"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(TypeError, match=f"capture: {message}"):
        capture(*arguments)


def test_the_interpreter_names_missing_arguments() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(TypeError, match="takes the arguments input; got "):
        Interpreter(module, capture(module))()


def test_fx_functions_are_known_under_all_their_names() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding="same")

        def forward(self, x: Tensor) -> Any:
            x = F.conv2d(x, self.conv.weight, bias=self.conv.bias, padding="same").relu_()
            y = F.interpolate(F.max_pool2d(x, 2), size=(x.size(2), x.size(-1)))
            h, w = x.shape[-2:]
            z = F.interpolate(F.avg_pool2d(x, 2), (h, w), mode="bilinear", align_corners=False)
            return torch.cat([torch.add(x, y), x.add(z)], dim=1)

    graph = capture(Net())
    kinds = [type(node.op) for node in graph.nodes if not isinstance(node.op, (ops.Stored, ops.Slice, ops.Opaque))]
    add, up = ops.Add, ops.Upsample
    expected = [ops.Input, ops.Conv, ops.Activation, ops.Pool, up, ops.Pool, up, add, add, ops.Concat]
    assert kinds == expected
    assert all(node.op.like for node in graph.nodes if isinstance(node.op, up))
    assert_same(Net(), graph, (torch.randn(1, 3, 7, 9),), True)
