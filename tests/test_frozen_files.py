"""Files of frozen networks: what is written is read, and what is damaged or hostile is refused before a kernel runs."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hgfast
from hgfast import FrozenModel
from hgfast.frozen.graph import ConvCall, Graph, PoolCall
from tests.recipe import apply_recipe
from tests.small_models import small_model


def conv(output: int, x: int, k: int, c: int, r: int = 1, **changes: Any) -> dict[str, Any]:
    call = {"kind": "conv", "name": "a", "output": output, "x": x, "weight": torch.randn(k, c, r, r)}
    more = {"bias": torch.zeros(k), "stride": 1, "relu": False, "residual": None, "upsample_to": None}
    return {**call, **more, "extra": None, "second": None, **changes}


def second(value: int, k: int, **changes: Any) -> dict[str, Any]:
    return {"value": value, "scale": torch.ones(k), "shift": torch.ones(k), **changes}


def pool(output: int, x: int) -> dict[str, Any]:
    return {"kind": "max_pool", "name": "p", "output": output, "x": x, "second": None}


def pointwise(output: int, x: int, k: int, **changes: Any) -> dict[str, Any]:
    call = {"kind": "pointwise", "name": "q", "output": output, "x": x}
    call |= {"scale": torch.randn(k), "shift": torch.randn(k)}
    return {**call, "residual": None, "relu": False, "second": None, **changes}


def content(calls: list[Any], outputs: Any, **changes: Any) -> dict[str, Any]:
    numbers = {"unit": 64, "slack": 0, "in_channels": 3, "values": 50}
    return {"format": "hgfast.frozen", "version": 1, **numbers, "outputs": outputs, "calls": calls, **changes}


def load(path: Path, data: Any) -> FrozenModel:
    torch.save(data, path)
    return FrozenModel.load(path)


@pytest.fixture(scope="module")
def frozen() -> FrozenModel:
    return hgfast.freeze(apply_recipe(small_model("princeton"), 3).eval())


def test_there_and_back(frozen: FrozenModel, tmp_path: Path) -> None:
    frozen.save(tmp_path / "frozen.pt")
    loaded, images = FrozenModel.load(tmp_path / "frozen.pt"), torch.randn(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(loaded(images), frozen(images), strict=True))
    data = torch.load(tmp_path / "frozen.pt", weights_only=True)
    for change, message in [
        ({"version": 99}, "format version 99"),
        ({"version": torch.ones(3)}, "format version Tensor"),
        ({"format": "x"}, "not a frozen network"),
        ({"calls": data["calls"][1:]}, r"damaged: calls\[0\]\.x is 2, which is not made before it is used"),
        ({"calls": [{"kind": "nonsense"}]}, "damaged: there is no 'nonsense'"),
        ({"calls": [3]}, "damaged: "),
        ({"outputs": "12"}, "damaged: outputs must be a list"),
    ]:
        with pytest.raises(ValueError, match=f"frozen.pt .*{message}"):
            load(tmp_path / "frozen.pt", {**data, **change})


def test_what_may_be_in_a_graph_runs(tmp_path: Path) -> None:
    """Merges, shortcuts, pools and second outputs in forms that no network here has."""
    strided = conv(1, 0, 4, 3, 3, stride=2, second=second(2, 4))
    low = [pool(3, 2), conv(4, 3, 4, 4, 3, upsample_to=1, residual=3)]
    last = conv(5, 4, 5, 4, extra={"value": 0, "weight": torch.randn(5, 3), "stride": 2})
    model, images = load(tmp_path / "x.pt", content([strided, *low, last], [2, 5])), torch.randn(1, 3, 64, 128)
    w, f = [call.get("weight") for call in [strided, *low, last]], torch.nn.functional
    one = f.conv2d(images, w[0], stride=2, padding=1)
    two = f.relu(one + 1)
    three = f.max_pool2d(two, 2)
    four = one + f.interpolate(f.conv2d(three, w[2], padding=1) + three, scale_factor=2)
    five = f.conv2d(four, w[3]) + f.conv2d(images, last["extra"]["weight"][:, :, None, None], stride=2)
    for got, expected in zip(model(images), (two, five), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=2e-3)


def test_pointwise_calls_and_any_size(tmp_path: Path) -> None:
    calls = [conv(1, 0, 4, 3, 3), pointwise(2, 1, 4, relu=True), pool(3, 2), pointwise(4, 2, 4, residual=2)]
    data = content([*calls], [3, 4], unit=1, any_size=True, version=2)
    model, images = load(tmp_path / "x.pt", data), torch.randn(2, 3, 5, 7)
    f = torch.nn.functional
    one = f.conv2d(images, calls[0]["weight"], padding=1)
    two = f.relu(one * calls[1]["scale"][:, None, None] + calls[1]["shift"][:, None, None])
    four = two * calls[3]["scale"][:, None, None] + calls[3]["shift"][:, None, None] + two
    for got, expected in zip(model(images), (f.max_pool2d(two, 2), four), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    table = model.describe(1, 8, 8)
    assert "BN + ReLU" in table and "BN + sum" in table
    model.save(tmp_path / "y.pt")
    assert torch.equal(FrozenModel.load(tmp_path / "y.pt")(images)[1], model(images)[1])
    bad = content([calls[0], pool(2, 1), conv(3, 0, 4, 3, residual=2)], [3], unit=1, any_size=True, version=2)
    with pytest.raises(ValueError, match="a gives .* which is added to"):  # any size goes, but none fits
        load(tmp_path / "x.pt", bad)(images)


def shared_weight() -> list[dict[str, Any]]:
    weight = torch.randn(8, 3, 1, 1)
    extra = {"value": 1, "weight": torch.randn(8, 8), "stride": 1}
    return [conv(1, 0, 8, 3, weight=weight), conv(2, 0, 8, 3, weight=weight, extra=extra)]


HALVED = conv(1, 0, 8, 3, stride=64)
HOSTILE: dict[str, tuple[Callable[[], list[Any]], Any, dict[str, Any], str]] = {
    "channels of the image": (
        lambda: [conv(1, 0, 8, 4096)],
        [1],
        {"in_channels": 4096},
        "in_channels must be at most 1024",
    ),
    "channels of x": (lambda: [conv(1, 0, 8, 4)], [1], {}, r"calls\[0\].weight must have shape"),
    "residual": (lambda: [HALVED, conv(2, 0, 8, 3, residual=1)], [2], {}, "residual must be 1/1 of the image's size"),
    "extra": (
        lambda: [HALVED, conv(2, 0, 8, 3, extra={"value": 1, "weight": torch.randn(8, 8), "stride": 1})],
        [2],
        {},
        "extra must give 1/1 of the image's size, got 1/64",
    ),
    "upsample_to": (lambda: [HALVED, conv(2, 0, 8, 3, upsample_to=1)], [2], {}, "none is twice as large"),
    "upsample_to itself": (lambda: [conv(1, 0, 3, 3, stride=4, upsample_to=0)], [1], {}, "upsample_to must be 1/2"),
    "dtype": (
        lambda: [conv(1, 0, 64, 3, second=second(2, 64, scale=torch.zeros(64, dtype=torch.uint8)))],
        [2],
        {},
        "second.scale must have one of the dtypes float32; got uint8",
    ),
    "bias": (lambda: [conv(1, 0, 8, 3, bias=torch.zeros(4))], [1], {}, r"bias must have shape \(8\), got \(4,\)"),
    "shared weight": (shared_weight, [2], {}, "shares its memory"),
    "made twice": (lambda: [HALVED, conv(1, 0, 8, 3)], [1], {}, "is 1, which is made already"),
    "second twice": (lambda: [HALVED, conv(2, 0, 8, 3, second=second(1, 8))], [2], {}, "which is made already"),
    "second is the image": (lambda: [conv(1, 0, 3, 3, second=second(0, 3))], [1], {}, "value must be at least 1"),
    "output is the image": (lambda: [HALVED], [1, 0], {}, r"outputs\[1\] must be a value of its own"),
    "no outputs": (lambda: [HALVED], [], {}, "outputs must have at least one entry"),
    "not made": (lambda: [HALVED], [2], {}, "is 2, which is not made"),
    "bool": (lambda: [HALVED], [True], {}, r"outputs\[0\] must be an int"),
    "expanded": (
        lambda: [conv(1, 0, 8, 3, weight=torch.zeros(1).expand(300, 3, 31, 31), bias=torch.zeros(300))],
        [1],
        {},
        r"weight must be dense, got strides \(0, 0, 0, 0\)",
    ),
    "overlapping": (
        lambda: [conv(1, 0, 8, 3, weight=torch.zeros(100).as_strided((8, 3, 1, 1), (1, 2, 1, 1)))],
        [1],
        {},
        "weight must be dense",
    ),
    "sparse": (lambda: [conv(1, 0, 8, 3, bias=torch.zeros(8).to_sparse())], [1], {}, "bias must be a dense tensor"),
    "meta": (lambda: [conv(1, 0, 8, 3, bias=torch.zeros(8, device="meta"))], [1], {}, "bias must hold numbers"),
    "no tensor": (lambda: [conv(1, 0, 8, 3, bias=[0.0] * 8)], [1], {}, "bias must be a torch.Tensor, got list"),
    "even kernel": (lambda: [conv(1, 0, 8, 3, 2)], [1], {}, "square kernel of odd size, got 2x2"),
    "stride": (lambda: [conv(1, 0, 8, 3, stride=0)], [1], {}, r"calls\[0\].stride must be at least 1"),
    "huge stride": (lambda: [conv(1, 0, 8, 3, stride=1 << 62)], [1], {}, r"calls\[0\].stride must be at most 64"),
    "uneven stride": (
        lambda: [conv(1, 0, 8, 3, stride=3)],
        [1],
        {},
        "3 times smaller than the image, whose unit is 64",
    ),
    "relu": (lambda: [conv(1, 0, 8, 3, relu=2)], [1], {}, "relu must be True or False"),
    "odd pool": (lambda: [pool(1, 0)], [1], {"slack": 3}, "pools what may have odd sizes"),
    "slack": (lambda: [HALVED], [1], {"slack": 64}, "slack must be at most 63"),
    "unit": (lambda: [HALVED], [1], {"unit": 0}, "unit must be at least 1"),
    "values": (lambda: [HALVED], [1], {"values": 1 << 70}, "values must be at most"),
    "too many channels": (lambda: [conv(1, 0, 4096, 3)], [1], {}, "4096 channels at 1/1 .* too many"),
    "pointwise": (lambda: [pointwise(1, 0, 4)], [1], {}, r"calls\[0\].scale must have shape \(3\)"),
    "pointwise residual": (
        lambda: [HALVED, pointwise(2, 0, 3, residual=1)],
        [2],
        {},
        "residual must have 3 channels, value 1 has 8",
    ),
    "any_size": (lambda: [HALVED], [1], {"any_size": 1}, "any_size must be True or False"),
    "name": (lambda: [conv(1, 0, 8, 3, name="a" * 1000)], [1], {}, "name must be a str of at most 200"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_graphs_are_refused(case: str, tmp_path: Path) -> None:
    make, outputs, changes, message = HOSTILE[case]
    with pytest.raises(ValueError, match=f"x.pt is damaged: .*{message}"):
        load(tmp_path / "x.pt", content(make(), outputs, **changes))


def test_graphs_given_to_the_constructor_are_checked_too() -> None:
    def graph(**changes: Any) -> Graph:
        call = ConvCall("a", 1, 0, torch.randn(8, 3, 1, 1), torch.zeros(8), **changes)
        return Graph(4, 0, 3, [call], [1], 2)

    assert FrozenModel(graph())(torch.zeros(1, 3, 4, 4))[0].shape == (1, 8, 4, 4)
    with pytest.raises(ValueError, match=r"FrozenModel: graph: calls\[0\].residual is 1, which is not made"):
        FrozenModel(graph(residual=1))
    with pytest.raises(TypeError, match="FrozenModel: graph: graph must be a Graph, got dict"):
        FrozenModel({})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"graph: calls\[0\] must be a ConvCall or PoolCall or .*, got list"):
        FrozenModel(Graph(4, 0, 3, [[]], [1], 2))  # type: ignore[list-item]
    assert FrozenModel(Graph(4, 0, 3, [PoolCall("p", 1, 0)], [1], 2))(torch.zeros(1, 3, 4, 4))[0].shape == (1, 3, 2, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "float32"}, TypeError, "FrozenModel: dtype must be a dtype, got str 'float32'"),
        ({"dtype": np.zeros(2)}, TypeError, "FrozenModel: dtype must be a dtype, got ndarray"),
        ({"dtype": torch.float64}, ValueError, "FrozenModel: dtype must be one of torch.float32, .* got torch.float64"),
        ({"dtype": torch.float16}, ValueError, "FrozenModel: dtype must be one that cpu has kernels for"),
        ({"device": "meta"}, ValueError, "FrozenModel: device must be 'cpu', 'cuda' or 'cuda:N', got 'meta'"),
        ({"device": "nonsense"}, ValueError, "FrozenModel: device must be .* got 'nonsense'"),
        ({"device": 0}, TypeError, "FrozenModel: device must be a device or str, got int 0"),
        ({"cuda_graph": 1}, TypeError, "FrozenModel: cuda_graph must be True or False, got int 1"),
        ({"cuda_graph": True}, ValueError, "FrozenModel: cuda_graph needs a model on CUDA, got cpu"),
        ({"batch_sizes": 3}, TypeError, "FrozenModel: batch_sizes must be a sequence of ints, got int 3"),
        ({"tf32": "no"}, TypeError, "FrozenModel: tf32 must be True or False, got str 'no'"),
    ],
)
def test_options(
    options: dict[str, Any], error: type[Exception], message: str, frozen: FrozenModel, tmp_path: Path
) -> None:
    frozen.save(tmp_path / "x.pt")
    with pytest.raises(error, match=message):
        FrozenModel.load(tmp_path / "x.pt", **options)


def test_what_is_no_frozen_file(frozen: FrozenModel, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(FileNotFoundError, match="x.pt: no such frozen network"):
        FrozenModel.load(path)
    with pytest.raises(ValueError, match="not a file"):
        FrozenModel.load(tmp_path)
    with pytest.raises(TypeError, match="path must be a path, got int 3"):
        FrozenModel.load(3)  # type: ignore[arg-type]
    frozen.save(path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1  # a weight
    for broken in (b"", b"x", whole[: len(whole) // 2], whole[100:], bytes(damaged), b"\x80\x02]q\x00."):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="x.pt: not a readable frozen network"):
            FrozenModel.load(path)
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 1, 1)), path)
    with pytest.raises(ValueError, match="x.pt: .*TorchScript"):
        FrozenModel.load(path)
    for other in ([1], {"state_dict": {}}, torch.nn.Conv2d(1, 1, 1), torch.zeros(3)):
        with pytest.raises(ValueError, match=r"x.pt is not a frozen network"):
            load(path, other)


def test_saving_is_all_or_nothing(frozen: FrozenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pt"
    frozen.save(path)
    before = path.read_bytes()

    def full(data: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        frozen.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_images_of_the_caller_are_not_written_to(frozen: FrozenModel) -> None:
    images = torch.randn(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    before: Tensor = images.clone()
    frozen(images)
    assert torch.equal(images, before)
