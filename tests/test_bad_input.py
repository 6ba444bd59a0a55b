"""Every public function on tensors with every kind of bad input: a clear error that names the argument, or a result."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import hgfast
from hgfast import ops
from hgfast.codecs import MSRAHeatmap, NewellHeatmap, UDPHeatmap
from hgfast.nn import HeatmapDecoder
from tests.sample_checks import map_tensors, tensors_in

Tensor = torch.Tensor
Arguments = dict[str, Tensor]
N, K, H, W = 2, 3, 8, 6


@dataclass(frozen=True)
class Function:
    """A function of named tensors, and which of them may be absent. `name`: a pattern of what messages begin with."""

    name: str
    call: Callable[..., Any]
    arguments: dict[str, tuple[int, ...]]
    optional: tuple[str, ...] = ()
    empty: tuple[str, ...] = ("batch", "channels")


def _itself(heatmaps: Any) -> list[int]:
    """flip_indices without left and right, whatever the heatmaps are."""
    return list(range(heatmaps.shape[1] if isinstance(heatmaps, Tensor) and heatmaps.dim() > 1 else K))


def _flip(method: str) -> Callable[..., Any]:
    return lambda heatmaps, flipped, inverse_affine: ops.decode_flip(
        heatmaps, flipped, _itself(heatmaps), method, True, inverse_affine
    )


MAPS, POINTS = (N, K, H, W), (N, K, 2)
PARAMETERS = {name: (K,) for name in ("weight", "bias", "running_mean", "running_var")}
FUNCTIONS = [
    Function("upsample_add", ops.upsample_add, {"skip": MAPS, "low": (N, K, 4, 3)}),
    Function("max_pool", ops.max_pool, {"x": MAPS}),
    Function("max_pool", ops.max_pool_branch, {"x": MAPS}),
    Function("batch_norm_act", ops.batch_norm_act, {"x": MAPS, **PARAMETERS, "residual": MAPS},
             ("weight", "bias", "residual"), ("batch",)),
    Function("conv2d", ops.conv2d, {"x": MAPS, "weight": (5, K, 3, 3), "bias": (5,)}, ("bias",), ("batch",)),
    Function("conv_bias_act", ops.conv_bias_act, {"x": MAPS, "weight": (5, K, 3, 3), "bias": (5,),
             "residual": (N, 5, H, W)}, ("bias", "residual"), ("batch",)),
    *(
        Function("decode_heatmaps", lambda heatmaps, inverse_affine, method=method: ops.decode_heatmaps(
            heatmaps, method, inverse_affine=inverse_affine), {"heatmaps": MAPS, "inverse_affine": (N, 2, 3)},
            ("inverse_affine",))
        for method in ("argmax", "quarter", "dark", "dark_udp", "newell", "soft")
    ),
    Function("flip_merge", lambda heatmaps, flipped: ops.flip_merge(heatmaps, flipped, _itself(heatmaps)),
             {"heatmaps": MAPS, "flipped": MAPS}),
    *(
        Function("decode_flip", _flip(method), {"heatmaps": MAPS, "flipped": MAPS, "inverse_affine": (N, 2, 3)},
                 ("inverse_affine",))
        for method in ("quarter", "dark", "soft")
    ),
    Function("heatmap_peaks", lambda heatmaps: ops.heatmap_peaks(heatmaps, 4), {"heatmaps": MAPS}),
    Function("gaussian_heatmaps", lambda keypoints, visible: ops.gaussian_heatmaps(keypoints, visible, (W, H), 2.0),
             {"keypoints": POINTS, "visible": (N, K)}),
    Function("keypoint_mse", ops.keypoint_mse, {"pred": MAPS, "target": MAPS, "weight": (N, K)}, ("weight",)),
    Function("keypoint_mse_from_points", lambda pred, keypoints, visible: ops.keypoint_mse_from_points(
        pred, keypoints, visible, 2.0), {"pred": MAPS, "keypoints": POINTS, "visible": (N, K)}),
    Function("HeatmapDecoder", HeatmapDecoder(), {"heatmaps": MAPS}),
    *(
        Function("decode", codec((4 * W, 4 * H), (W, H), 2.0).decode, {"heatmaps": MAPS})
        for codec in (MSRAHeatmap, UDPHeatmap, NewellHeatmap)
    ),
    *(
        Function("(encode|gaussian_heatmaps)", codec((4 * W, 4 * H), (W, H), 2.0).encode,
                 {"keypoints": POINTS, "visible": (N, K)})
        for codec in (MSRAHeatmap, UDPHeatmap, NewellHeatmap)
    ),
]  # fmt: skip
CASES = [pytest.param(f, a, id=f"{i}-{f.name}-{a}") for i, f in enumerate(FUNCTIONS) for a in f.arguments]
WRONG_KINDS: dict[str, Callable[[Tensor], Any]] = {
    "complex numbers": lambda x: x.to(torch.complex64),
    "16-bit integers": lambda x: x.to(torch.int16),
    "an array": lambda x: x.numpy(),
    "a list": lambda x: x.tolist(),
}


def good(function: Function) -> Arguments:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=generator) + 0.5 for name, shape in function.arguments.items()}


def assert_refused(function: Function, arguments: dict[str, Any], name: str, *errors: type[Exception]) -> None:
    """One of the errors, whose message begins with the function's name and names an argument: the bad one where there
    is no other that it could disagree with."""
    names = [name] if len(function.arguments) == 1 else list(function.arguments)
    pattern = rf"^({function.name}: |)({'|'.join(names)})\b"
    with pytest.raises(errors, match=pattern):
        function.call(**arguments)


@pytest.mark.parametrize("kind", WRONG_KINDS)
@pytest.mark.parametrize(("function", "name"), CASES)
def test_wrong_kind(function, name, kind) -> None:
    arguments: dict[str, Any] = good(function)
    arguments[name] = WRONG_KINDS[kind](arguments[name])
    assert_refused(function, arguments, name, TypeError)


@pytest.mark.parametrize(("function", "name"), CASES)
def test_absent(function, name) -> None:
    arguments: dict[str, Any] = {**good(function), name: None}
    if name in function.optional:
        function.call(**arguments)
    else:
        assert_refused(function, arguments, name, TypeError, ValueError)


@pytest.mark.parametrize(("function", "name"), CASES)
def test_wrong_rank(function, name) -> None:
    arguments = good(function)
    for bad in (arguments[name][..., None], arguments[name].sum()):
        assert_refused(function, {**arguments, name: bad}, name, ValueError)


@pytest.mark.parametrize(("function", "name"), [case for case in CASES if len(case.values[0].arguments) > 1])
def test_mixed_devices_and_sizes(function, name) -> None:
    arguments = good(function)
    assert_refused(function, {**arguments, name: arguments[name].to("meta")}, name, ValueError)
    # twice the batch, or of a convolution's input, which the others do not know the batch of, twice the channels
    place = 1 if name == "x" and function.name.startswith("conv") else 0
    larger = torch.cat((arguments[name],) * 2, place)
    assert_refused(function, {**arguments, name: larger}, name, ValueError)


@pytest.mark.parametrize(("function", "name"), CASES)
def test_strided_views_and_inputs_with_a_gradient(function, name) -> None:
    arguments = good(function)
    expected = [out.detach().clone() for out in tensors_in(function.call(**map_tensors_of(arguments, torch.clone)))]
    strided = torch.stack((arguments[name], torch.zeros_like(arguments[name])), -1)[..., 0]
    wanting = arguments[name].clone().requires_grad_(not name.startswith("running"))
    for value in (strided, wanting):
        changed = {**map_tensors_of(arguments, torch.clone), name: value}
        for ours, theirs in zip(tensors_in(function.call(**changed)), expected, strict=True):
            torch.testing.assert_close(ours.detach(), theirs, rtol=1e-5, atol=1e-6)


def map_tensors_of(arguments: Arguments, change: Callable[[Tensor], Tensor]) -> Arguments:
    return {name: map_tensors(change, value) for name, value in arguments.items()}


@pytest.mark.parametrize(("function", "name"), CASES)
def test_nan(function, name) -> None:
    """No error and no crash; locations are finite all the same, where no matrix of NaN maps them."""
    arguments = good(function)
    arguments[name] = torch.full_like(arguments[name], float("nan"))
    results = tensors_in(function.call(**arguments))
    if name in ("heatmaps", "flipped") and function.name != "flip_merge":
        assert results[0].isfinite().all()
    if name == "keypoints":
        assert all(out.isfinite().all() for out in results)


@pytest.mark.parametrize("what", ["batch", "channels"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_nothing_at_all(function, what) -> None:
    """N = 0 or K = 0: results with a 0 in their shapes, a loss that is a number."""
    if what not in function.empty:
        return
    place, size = (0, N) if what == "batch" else (1, K)
    arguments = {
        name: x.narrow(place, 0, 0) if x.dim() > place and x.shape[place] == size else x
        for name, x in good(function).items()
    }
    if what == "channels" and "inverse_affine" in arguments:
        arguments["inverse_affine"] = torch.rand(N, 2, 3)
    for out in tensors_in(function.call(**arguments)):
        assert out.dim() == 0 or 0 in out.shape
        assert not out.isnan().any() or function.name.startswith("keypoint_mse")


def small(name: str, **options: Any) -> torch.nn.Module:
    if name == "mmpose":
        widths = {
            "stage_channels": (16, 16, 16),
            "stage_blocks": (1, 1, 1),
            "feat_channel": 16,
            "stem_channels": (8, 16),
        }
        return hgfast.models.HourglassPose(**{"num_keypoints": 4, "downsample_times": 2, **widths, **options}).eval()
    return hgfast.models.StackedHourglass(
        **{"num_stacks": 1, "channels": 16, "num_keypoints": 4, "stem_channels": (8, 16), **options}
    ).eval()


IMAGES = torch.rand(1, 3, 64, 64)
BAD_IMAGES = [
    (IMAGES.numpy(), TypeError, "images must be a torch.Tensor (N, 3, H, W), got ndarray"),
    (IMAGES.byte(), TypeError, "images must be floating point, already normalised, got torch.uint8"),
    (IMAGES[0], ValueError, "images must have shape (N, 3, H, W), got (3, 64, 64)"),
    (IMAGES[:, :2], ValueError, "images must have shape (N, 3, H, W), got (1, 2, 64, 64)"),
    (IMAGES[..., :33], ValueError, "got height 64, width 33"),
    (IMAGES[:, :, :0], ValueError, "got height 0, width 64"),
    (IMAGES.to("meta"), ValueError, "images must be on"),
]


@pytest.mark.parametrize(("images", "error", "message"), BAD_IMAGES)
@pytest.mark.parametrize("form", ["plain", "fused", "frozen"])
@pytest.mark.parametrize("name", ["mmpose", "newell"])
def test_networks(name, form, images, error, message) -> None:
    model = small(name)
    model = {"plain": lambda m: m, "fused": hgfast.fuse, "frozen": hgfast.freeze}[form](model)
    with pytest.raises(error, match=re.escape(message)):
        model(images)


@pytest.mark.parametrize("name", ["mmpose", "newell"])
def test_networks_and_other_numbers(name) -> None:
    """Half and double images: refused by float32 weights, but for autocast and for frozen networks, which convert."""
    model = small(name)
    for dtype in (torch.float16, torch.float64):
        with pytest.raises(
            TypeError, match=r"images must have the weights' dtype torch.float32, or autocast be on; got"
        ):
            model(IMAGES.to(dtype))
        assert hgfast.freeze(model)(IMAGES.to(dtype))[0].shape == (1, 4, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(IMAGES.bfloat16())[0].shape == (1, 4, 16, 16)
    assert model.double()(IMAGES.double())[0].dtype == torch.float64
    assert small(name)(IMAGES[:0])[0].shape == (0, 4, 16, 16)
    assert small(name)(torch.full_like(IMAGES, float("nan")))[0].isnan().all()


@pytest.mark.parametrize("name", ["mmpose", "newell"])
@pytest.mark.parametrize("what", ["num_keypoints", "num_stacks"])
def test_networks_of_nothing(name, what) -> None:
    with pytest.raises(ValueError, match=f"{what} must be at least 1, got 0"):
        small(name, **{what: 0})
    with pytest.raises(TypeError, match=f"{what} must be an int, got float"):
        small(name, **{what: 1.5})


ONE, PAIR = torch.rand(1, 2, 8, 8), torch.rand(2, 2, 3, 3)
SETTINGS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: ops.batch_norm_act(ONE, None, None, None, None, 2.5), TypeError, "training must be True or False"),
    (
        lambda: ops.batch_norm_act(ONE, None, None, None, None, True, float("nan")),
        ValueError,
        "momentum must be finite",
    ),
    (lambda: ops.batch_norm_act(ONE, None, None, None, None, True, eps=None), TypeError, "eps must be a number"),
    (lambda: ops.conv2d(ONE, PAIR, None, 2**31), ValueError, "stride must be at most 2147483647"),
    (lambda: ops.conv_bias_act(ONE, PAIR, None, 1, None, 3.0), TypeError, "relu must be True or False"),
    (lambda: ops.flip_merge(ONE, ONE, [0, 1], {}), TypeError, "shift must be True or False"),
    (lambda: ops.decode_flip(ONE, ONE, [0, 1], shift="no"), TypeError, "shift must be True or False"),
    (lambda: ops.decode_heatmaps(ONE, "dark", 2**20 + 1), ValueError, "blur_kernel_size must be at most 65535"),
    (lambda: ops.heatmap_peaks(ONE, 2**40), ValueError, "count must be at most 65536"),
]


@pytest.mark.parametrize(("call", "error", "message"), SETTINGS)
def test_settings(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_blur_wider_than_the_map_takes_no_longer() -> None:
    """Taps that lie outside the map for every pixel are not summed."""
    keypoints, _ = ops.decode_heatmaps(ONE, "dark", 65535)
    assert keypoints.isfinite().all()
