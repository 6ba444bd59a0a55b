"""hgfast.freeze: golden vectors, foreign classes, plans, memory, self-check, files, bad input."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast.codecs import MSRAHeatmap
from hgfast.frozen.arena import last_uses, place
from hgfast.frozen.build import build_graph
from hgfast.frozen.freeze import TOLERANCE, relative_errors
from hgfast.frozen.shapes import value_shapes
from hgfast.frozen.sums import Product
from hgfast.frozen.torch_call import TorchCall
from hgfast.predict import Predictor
from tests.recipe import apply_recipe
from tests.small_models import FAMILIES, small_model

SIDE = {"mmpose": 16, "princeton": 64}


def trained(family: str, **options: Any) -> nn.Module:
    """A small network whose BatchNorms are no identities."""
    return apply_recipe(small_model(family, "reference", **options), 7).eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 2, 1), (2, 1, 3)])
def test_equals_the_model_in_float64(family: str, size: tuple[int, int, int]) -> None:
    model = trained(family)
    frozen = hgfast.freeze(model)
    images = torch.randn(size[0], 3, *(SIDE[family] * s for s in size[1:]))
    expected = copy.deepcopy(model).double()(images.double())
    heatmaps = frozen(images)
    assert len(heatmaps) == len(expected) == 2
    for ours, theirs in zip(heatmaps, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == torch.float32 and not ours.requires_grad
        assert (ours - theirs).norm() <= TOLERANCE[torch.float32] / 10 * theirs.norm()


def test_sizes_a_little_smaller_than_a_multiple() -> None:
    model = trained("mmpose")
    assert max(relative_errors(hgfast.freeze(model), model, torch.randn(1, 3, 13, 47))) < 1e-5


@pytest.mark.parametrize("increase", [0, 4])
@pytest.mark.parametrize("num_stacks", [1, 3])
def test_newell_variants(increase: int, num_stacks: int) -> None:
    model = trained("princeton", num_stacks=num_stacks, increase=increase)
    assert max(relative_errors(hgfast.freeze(model), model, torch.randn(1, 3, 64, 64))) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_models_freeze_to_the_same(family: str) -> None:
    images = torch.randn(1, 3, SIDE[family], SIDE[family])
    fused = apply_recipe(small_model(family, "fused"), 7).eval()
    for ours, theirs in zip(hgfast.freeze(fused)(images), hgfast.freeze(trained(family))(images), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "part", "what"),
    [
        ("conv", nn.Conv2d(3, 4, 7, 2, padding=2), "convolution + BN"),
        ("bn", nn.BatchNorm2d(4, track_running_stats=False), "batch norm"),
        ("bn", nn.GroupNorm(2, 4), "GroupNorm norm"),
    ],
)
def test_parts_that_no_kernel_takes_are_torchs(name: str, part: nn.Module, what: str) -> None:
    model = trained("mmpose")
    setattr(model.backbone.stem[0], name, part)
    frozen = hgfast.freeze(model)
    assert max(relative_errors(frozen, model, torch.randn(1, 3, 16, 16))) < 1e-5
    by_torch = [call.what for call in frozen.graph.calls if isinstance(call, TorchCall)]
    assert what in by_torch and len(by_torch) <= 3 and "of them by torch" in frozen.describe(1, 32, 32).splitlines()[-1]
    with pytest.raises(ValueError, match="save: . of .* calls are torch's, "):
        frozen.save("nowhere.pt")


def test_hooks_are_kept() -> None:
    model = trained("mmpose")
    model.backbone.out_convs[0].register_forward_hook(lambda module, inputs, output: output + 1)
    assert max(relative_errors(hgfast.freeze(model), model, torch.randn(1, 3, 16, 16))) < 1e-5


def test_refuses_a_result_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = Product.scaled
    monkeypatch.setattr(Product, "scaled", lambda self, scale, shift: fold(self, 1.1 * scale, shift))
    with pytest.raises(RuntimeError, match="output 0 differs from the model's by"):
        hgfast.freeze(trained("mmpose"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, "model must be a Module, got int"),
        ((nn.ReLU(),), TypeError, "model must have parameters, ReLU has none"),
        (
            (nn.Bilinear(2, 2, 2),),
            TypeError,
            "model must take images .* alone, Bilinear takes 2 tensors; pass example=",
        ),
        ((nn.Linear(2, 2),), ValueError, "model must take images .N, 3, H, W.; for images .* raised RuntimeError"),
        (
            (small_model("mmpose"), torch.float16),
            ValueError,
            "dtype must be one of torch.float32, torch.bfloat16, torch.int8 on cpu",
        ),
        ((small_model("mmpose"), None, True), ValueError, "cuda_graph needs a model on CUDA, got cpu"),
        ((small_model("mmpose"), None, False, [0]), ValueError, r"batch_sizes\[0\] must be at least 1, got 0"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hgfast.freeze(*arguments)


def test_bad_images() -> None:
    frozen = hgfast.freeze(trained("mmpose"))
    with pytest.raises(ValueError, match="multiple of 16"):
        frozen(torch.zeros(1, 3, 17, 16))
    for args, kwargs in (((), {}), ((1, 2), {}), ((), {"image": 3})):
        with pytest.raises(TypeError, match="the frozen network takes images alone: "):
            frozen(*args, **kwargs)
    assert torch.equal(frozen(images=torch.ones(1, 3, 16, 16))[0], frozen(torch.ones(1, 3, 16, 16))[0])
    with pytest.raises(TypeError, match="floating point"):
        frozen(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    assert [h.shape for h in frozen(torch.zeros(0, 3, 16, 16))] == [(0, 5, 4, 4)] * 2


def test_leaves_the_model_as_it_was() -> None:
    model = trained("mmpose").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hgfast.freeze(model)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_values_that_live_together_do_not_overlap(family: str) -> None:
    graph = build_graph(small_model(family))
    shapes = value_shapes(graph, 64, 64)
    nbytes = {value: 4 * c * h * w for value, (c, h, w) in shapes.items()}
    external = {0, *graph.outputs}
    offsets, size = place(graph, nbytes, external)
    last, made = last_uses(graph), {}
    for index, call in enumerate(graph.calls):
        made[call.output] = index
        if call.second is not None:
            made[call.second.value] = index
    for a in offsets:
        assert offsets[a] + nbytes[a] <= size
        for b in offsets:
            apart = offsets[a] + nbytes[a] <= offsets[b] or offsets[b] + nbytes[b] <= offsets[a]
            ends = last[a] < made[b] or last[b] < made[a]
            in_place = offsets[a] == offsets[b] and (last[a] == made[b] or last[b] == made[a])
            assert a == b or apart or ends or in_place
    assert size < sum(nbytes.values()) / 2


def test_describe_and_plan_check_the_size() -> None:
    frozen = hgfast.freeze(trained("mmpose"))
    with pytest.raises(TypeError, match="batch must be an int, got tuple"):
        frozen.describe((1, 3, 32, 32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="height must be at least 1, got 0"):
        frozen.describe(1, 0, 32)
    with pytest.raises(ValueError, match="images: height and width .* got height 32, width 37"):
        frozen.plan(1, 32, 37)


def test_describe() -> None:
    frozen = hgfast.freeze(trained("mmpose"))
    text = frozen.describe(2, 32, 32)
    assert "ReLU + merge" in text and "1x1 shortcut/2" in text and "winograd" in text
    assert text.splitlines()[-1].startswith(f"{len(frozen.graph.calls)} calls, ")
    assert "BN-ReLU" in hgfast.freeze(trained("princeton")).describe(1, 64, 64)


def test_copies_and_pickles() -> None:
    """What is packed and planned is made anew; hooks and attributes of the caller's are kept."""
    frozen, images = hgfast.freeze(trained("princeton")), torch.randn(1, 3, 64, 64)
    frozen.note, expected, file = "mine", frozen(images), io.BytesIO()
    torch.save(frozen, file)
    file.seek(0)
    twins = [copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen)), torch.load(file, weights_only=False)]
    for twin in twins:
        assert (
            twin.note == "mine" and not twin._plans and twin.graph is not frozen.graph and not list(twin.parameters())
        )
        assert all(torch.equal(a, b) for a, b in zip(twin(images), expected, strict=True))


def test_predictors_are_copied_and_pickled() -> None:
    model = apply_recipe(small_model("mmpose", num_keypoints=16), 0).eval()
    predictor, file = Predictor(model, MSRAHeatmap((32, 32), (8, 8), 2.0)), io.BytesIO()
    picture = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    torch.save(predictor, file)
    file.seek(0)
    for twin in (copy.deepcopy(predictor), torch.load(file, weights_only=False)):
        assert np.array_equal(twin(picture).keypoints, predictor(picture).keypoints)


def test_threads_give_the_same_result_and_may_call_together() -> None:
    frozen, images = hgfast.freeze(trained("mmpose")), torch.randn(4, 3, 32, 32)
    expected = frozen(images)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    for a, b in zip(frozen(images), expected, strict=True):  # more threads may choose other algorithms
        assert (a - b).norm() <= 1e-5 * b.norm()
    torch.set_num_threads(before)
    results: list[list[Tensor]] = []
    threads = [threading.Thread(target=lambda: results.append(frozen(images))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all((a - b).norm() <= 1e-5 * b.norm() for r in results for a, b in zip(r, expected, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_number_of_threads_gives_the_same_bits(family: str) -> None:
    """Whatever number it was before, and whichever thread did what."""
    model, images = trained(family), torch.randn(2, 3, 64, 64)
    before, expected = torch.get_num_threads(), {}
    try:
        for frozen in (hgfast.freeze(model), hgfast.freeze(model)):
            for threads in (3, 1, 2, 3, 1):
                torch.set_num_threads(threads)
                got = frozen(images)
                for a, b in zip(got, expected.setdefault(threads, got), strict=True):
                    assert torch.equal(a, b), threads
    finally:
        torch.set_num_threads(before)


class Imitation(nn.Module):
    """The names of princeton-vl's network, and what its parts are in others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name in ("pre", "hgs", "features", "outs", "merge_features", "merge_preds"):
            setattr(self, name, copy.deepcopy(getattr(model, name)))
        self.calls: list[Any] = [model]  # as it is, no submodule

    def forward(self, images: Tensor) -> Any:
        return self.calls[0](images)


def other(change: Any) -> nn.Module:
    model = Imitation(trained("princeton"))
    change(model)
    return model


def raise_shapes(images: Tensor) -> Tensor:
    return torch.zeros(1, 2) @ torch.zeros(3, 4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda m: setattr(m, "calls", [raise_shapes]),
            ValueError,
            "Imitation cannot be captured as a graph: RuntimeError",
        ),
        (
            lambda m: setattr(m, "calls", [lambda x: x.sum() > 0 or x]),
            ValueError,
            "Imitation cannot be captured as a graph: its forward decides",
        ),
        (lambda m: m.to("meta"), ValueError, "model must be on the CPU or on CUDA, got meta"),
    ],
)
def test_look_alikes(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"freeze: .*{message}"):
        hgfast.freeze(other(make))
