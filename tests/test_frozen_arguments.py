"""Frozen networks of any arguments: the module's own structure in and out, checks by name, files."""

from __future__ import annotations

import copy
import pickle
import sys
from collections import namedtuple
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
from tests.graph_models import BATCH, Of, Pair
from tests.recipe import apply_recipe
from tests.tolerances import relative_error

Sized = namedtuple("Sized", "image size")


class Two(nn.Module):
    """Kernels alone: what is summed comes from two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(2, 6, 1), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: Tensor, *, more: dict[str, list[Tensor]], scale: int = 1) -> Any:
        y = F.relu(self.a(x) + self.b(more["maps"][0]) + more["maps"][1])
        return self.c(y), {"y": [y]}


class Guided(nn.Module):
    """Vectors, indices and a mask beside the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.embed, self.line = nn.Conv2d(3, 8, 3, padding=1), nn.Embedding(5, 8), nn.Linear(4, 8)

    def forward(self, sized: Sized, vector: Tensor, index: Tensor, *masks: Tensor, mode: str = "sum") -> Any:
        y = F.relu(self.conv(sized.image))
        y = y * (self.line(vector) + self.embed(index))[:, :, None, None]
        for mask in masks:
            y = y.masked_fill(mask, 0)
        return y.mean((2, 3)) if mode == "mean" else y


def images(n: int = 2, h: int = 16, w: int = 24) -> dict[str, Any]:
    maps = [torch.randn(n, 2, h // 2, w // 2), torch.randn(n, 6, h // 2, w // 2)]
    return {"x": torch.randn(n, 3, h, w), "more": {"maps": maps}}


def guided(n: int = 2, h: int = 8, w: int = 12) -> tuple[Any, ...]:
    mask = torch.rand(n, 1, h, w) < 0.3
    return Sized(torch.randn(n, 3, h, w), 7), torch.randn(n, 4), torch.arange(n), mask, ~mask.roll(1, 2)


def assert_alike(model: nn.Module, frozen: nn.Module, *args: Any, **kwargs: Any) -> None:
    before = [x.clone() for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    with torch.no_grad():
        expected, kind = tree_flatten(copy.deepcopy(model)(*args, **kwargs))
    got, same_kind = tree_flatten(frozen(*args, **kwargs))
    assert kind == same_kind
    for a, b in zip(got, expected, strict=True):
        assert relative_error(a, b) < 1e-5
    after = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def two() -> tuple[nn.Module, FrozenModel]:
    model = apply_recipe(Two(), 2).eval()
    return model, hgfast.freeze(model, example=images())


def test_containers_and_keywords() -> None:
    model, frozen = two()
    assert {type(call) for call in frozen.graph.calls} == {ConvCall}
    for size in ((2, 16, 24), (3, 8, 8), (1, 10, 14)):
        assert_alike(model, frozen, **images(*size))
    given = images()
    assert_alike(model, frozen, given["x"], more=given["more"])
    assert_alike(model, frozen, given["x"].double().float(), more=given["more"], scale=1)
    for twin in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert torch.equal(twin(**given)[0], frozen(**given)[0])


def test_vectors_indices_masks_and_any_number_of_arguments() -> None:
    model = apply_recipe(Guided(), 2).eval()
    frozen = hgfast.freeze(model, example=guided())
    for size in ((2, 8, 12), (5, 6, 4), (1, 3, 3)):
        assert_alike(model, frozen, *guided(*size))
    sized, vector, index, *_ = guided()
    mean = hgfast.freeze(model, example={"sized": sized, "vector": vector, "index": index, "mode": "mean"})
    assert_alike(model, mean, *guided()[:3], mode="mean")


def test_pairs_in_a_batch() -> None:
    model = apply_recipe(Pair(), 2).eval()
    frozen = hgfast.freeze(model, example=BATCH)
    assert_alike(model, frozen, {"image": torch.randn(3, 3, 8, 4), "more": [torch.randn(3, 2, 8, 4)]})


def test_an_input_that_is_given_back() -> None:
    model = apply_recipe(Of(lambda m, x, y: (m.conv(x), y, x)), 1).eval()
    frozen, x, y = hgfast.freeze(model, example=(torch.randn(2, 3, 8, 8), torch.randn(2, 7))), *images().values()
    y = torch.randn(2, 7)
    got = frozen(x, y)
    assert torch.equal(got[1], y) and torch.equal(got[2], x) and got[1].data_ptr() != y.data_ptr()


def test_one_image_in_a_tuple_is_an_image() -> None:
    model = apply_recipe(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), 1).eval()
    frozen = hgfast.freeze(model, example=(torch.randn(2, 3, 8, 8),))
    assert frozen.graph.arguments is None
    assert_alike(model, frozen, torch.randn(1, 3, 5, 5))


def wrong(**changes: Any) -> dict[str, Any]:
    return {**images(), **changes}


GOOD = images()["more"]["maps"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x": images()["x"]}, TypeError, "takes the arguments x, more.*missing a required.* 'more'"),
        (wrong(other=3), TypeError, "takes the arguments x, more.*unexpected keyword argument 'other'"),
        (wrong(x=3), TypeError, "^x must be a torch.Tensor, got int"),
        (wrong(x=torch.zeros(1, 3, 4)), ValueError, "^x must have 4 dimensions, got 3"),
        (wrong(x=torch.zeros(1, 3, 4, 4).int()), TypeError, "^x must have one of the dtypes float32, .* got int32"),
        (wrong(x=torch.zeros(1, 4, 4, 4)), ValueError, "^x must have 3 channels, got shape"),
        (wrong(more=GOOD), TypeError, "^more must be a dict, got"),
        (wrong(more={"map": GOOD}), ValueError, "^more must have the keys 'maps', got 'map'"),
        (wrong(more={"maps": tuple(GOOD)}), TypeError, r"^more\['maps'\] must be a list, got"),
        (wrong(more={"maps": GOOD[:1]}), ValueError, r"^more\['maps'\] must have 2 entries, got 1"),
        (wrong(more={"maps": [*GOOD[:1], 3]}), TypeError, r"^more\['maps'\]\[1\] must be a torch.Tensor, got int"),
        (wrong(more={"maps": [GOOD[0].to("meta"), GOOD[1]]}), ValueError, r"^more\['maps'\]\[0\] must be on cpu"),
        (wrong(more={"maps": [GOOD[0], GOOD[1][..., :3]]}), ValueError, "the network does not take 2 images of height"),
    ],
)
def test_wrong_arguments(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        two()[1](**given)


def test_constants_stay() -> None:
    model = apply_recipe(Guided(), 2).eval()
    frozen = hgfast.freeze(model, example=guided())
    (image, _), *rest = guided()
    with pytest.raises(ValueError, match=r"^sized\[1\] must be 7, with which the network was frozen; got"):
        frozen(Sized(image, 8), *rest)
    with pytest.raises(TypeError, match=r"^sized must be a Sized, got tuple"):
        frozen((image, 7), *rest)


@pytest.mark.parametrize(
    ("example", "error", "message"),
    [
        ([], TypeError, "example must be a Tensor or tuple or dict, got list"),
        (images()["x"], TypeError, "missing a required"),
        ({"x": torch.zeros(2, 3), "more": images()["more"]}, ValueError, "must take the example; it raised"),
        ({"x": torch.zeros(3), "more": {"maps": [torch.zeros(3)] * 2}}, TypeError, "there are none in the example"),
        (wrong(x=torch.zeros(2, 3, 7, 7)), ValueError, "freeze: model must take the example; it raised RuntimeError"),
    ],
)
def test_wrong_examples(example: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hgfast.freeze(Two(), example=example)


def test_describe_needs_a_call() -> None:
    _, frozen = two()
    with pytest.raises(ValueError, match="takes 3 tensors, whose sizes .* call it first with 1 images of height 16"):
        frozen.describe(1, 16, 16)
    frozen(**images(1, 16, 16))
    assert "3x3/2" in frozen.describe(1, 16, 16)


def test_files_hold_arguments(tmp_path: Path) -> None:
    model, frozen = two()
    frozen.save(tmp_path / "x.pt")
    loaded = FrozenModel.load(tmp_path / "x.pt")
    assert_alike(model, loaded, **images(1, 6, 8))
    with pytest.raises(ValueError, match=r"^more\['maps'\]\[0\] must have 2 channels"):
        loaded(**wrong(more={"maps": [GOOD[1], GOOD[1]]}))
    assert torch.load(tmp_path / "x.pt", weights_only=True)["version"] == 3


def nested(depth: int) -> Any:
    found: Any = {"input": 0}
    for _ in range(depth):
        found = {"list": [found]}
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("others"), "there is no 'others'"),
        (lambda d: d.update(others=3), "others must be a list"),
        (lambda d: d.update(others=[1]), "must have a place for each of 2 inputs"),
        (lambda d: d.update(others=[1, 0]), r"others\[1\] must be at least 1"),
        (lambda d: d.update(others=[1, 1]), r"others\[1\] is 1, which is made already"),
        (lambda d: d.update(outputs=[1]), r"outputs\[0\] must be a value of its own"),
        (lambda d: d.update(arguments=[]), "arguments must be a dict"),
        (lambda d: d["arguments"].update(names=[3]), r"arguments.names\[0\] must be a dict"),
        (lambda d: d["arguments"]["names"][0].update(name="1x"), "valid parameter name"),
        (lambda d: d["arguments"]["names"][0].update(name=""), "valid parameter name"),
        (lambda d: d["arguments"]["names"][0].update(kind=9), "kinds must be at most 4"),
        (lambda d: d["arguments"]["names"][0].update(kind="a"), "kinds must be an int"),
        (lambda d: d["arguments"]["names"][0].update(structure={"input": 1}), "a place for each of 3 inputs"),
        (lambda d: d["arguments"]["names"][0].update(structure=nested(2000)), "recursion"),
        (lambda d: d["arguments"]["inputs"].pop(), "a place for each of 3 inputs"),
        (lambda d: d["arguments"]["inputs"][0].update(sizes=()), "must be the images, with 4 dimensions"),
        (lambda d: d["arguments"]["inputs"][0].update(sizes=3), "not iterable"),
        (
            lambda d: d["arguments"]["inputs"][0].update(sizes=[(1, 2, 3)]),
            r"inputs\[0\].sizes must be at most 64 pairs",
        ),
        (lambda d: d["arguments"]["inputs"][1].update(sizes=[(1, 1 << 70)]), r"inputs\[1\].sizes must be at most 46"),
        (lambda d: d["arguments"]["inputs"][1].update(dtype="nn"), r"inputs\[1\].dtype must be a dtype"),
        (lambda d: d["arguments"]["inputs"][1].update(name=3), r"inputs\[1\].name must be a str"),
        (lambda d: d["arguments"]["inputs"][1].update(sizes=[(True, 1)]), r"inputs\[1\].sizes must be an int"),
    ],
)
def test_hostile_arguments_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    two()[1].save(tmp_path / "x.pt")
    data = torch.load(tmp_path / "x.pt", weights_only=True)
    change(data)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20000)  # for pickle, which writes what is nested as deeply
    torch.save(data, tmp_path / "y.pt")
    sys.setrecursionlimit(limit)
    with pytest.raises(ValueError, match=f"y.pt is .*({message})"):
        FrozenModel.load(tmp_path / "y.pt")
