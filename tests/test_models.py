"""Sizes, keys, arithmetic, bad input and copying of the models."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hgfast import models, reference
from hgfast import nn as hgnn
from tests.small_models import FAMILIES, small_model

KEYS = Path(__file__).parent / "data" / "keys_hourglass52.txt"
IMPLEMENTATIONS = ["reference", "fused"]


def count(model: nn.Module, trained: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_hourglass52_keys(implementation: str) -> None:
    lines = [line.split() for line in KEYS.read_text().splitlines() if not line.startswith("#")]
    with torch.device("meta"):
        state = models.build("hourglass52", implementation=implementation).state_dict()
    actual = [
        [k, "x".join(map(str, v.shape)) or "scalar", str(v.dtype).removeprefix("torch.")] for k, v in state.items()
    ]
    assert actual == lines and len(lines) == 494


@pytest.mark.parametrize(
    ("name", "entries", "total", "trained"),
    [
        ("hourglass52", 494, 94_847_632, 93_666_960),
        ("hourglass104", 964, 187_708_576, 187_708_576),
        ("hg1", None, 4_364_048, 4_364_048 - 937_600),
        ("hg2", None, 8_429_088, None),
        ("hg8", None, 32_819_328, None),
    ],
)
def test_parameter_counts(name: str, entries: int | None, total: int, trained: int | None) -> None:
    with torch.device("meta"):
        model = models.build(name)
    assert count(model) == total
    assert trained is None or count(model, trained=True) == trained
    assert entries is None or len(model.state_dict()) == entries


@pytest.mark.parametrize(
    ("name", "size", "macs"),
    [
        ("hourglass52", 256, 28_619_112_448),
        ("hourglass52", 384, 64_393_003_008),
        ("hourglass104", 256, 58_540_556_288),
        ("hg1", 256, 5.150e9),
        ("hg2", 256, 8.335e9),
        ("hg8", 256, 27.440e9),
    ],
)
def test_multiplications(name: str, size: int, macs: float) -> None:
    with torch.device("meta"):
        model, images = models.build(name, implementation="reference").eval(), torch.empty(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    assert counter.get_total_flops() / 2 == pytest.approx(macs, rel=0 if isinstance(macs, int) else 2e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("size", [(13, 16), (16, 14), (32, 16), (61, 48)])
def test_mmpose_sizes(size: tuple[int, int], implementation: str) -> None:
    heatmaps = small_model("mmpose", implementation).eval()(torch.rand(2, 3, *size))
    assert [tuple(h.shape) for h in heatmaps] == [(2, 5, -(-size[0] // 4), -(-size[1] // 4))] * 2


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_princeton_sizes(implementation: str) -> None:
    heatmaps = small_model("princeton", implementation).eval()(torch.rand(1, 3, 64, 128))
    assert torch.stack(heatmaps, 1).shape == (1, 2, 5, 16, 32)


@pytest.mark.parametrize("size", [(12, 16), (17, 16), (16, 24), (0, 16)])
def test_mmpose_wrong_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"multiple of 16, or up to 3 less .*got height {size[0]}, width {size[1]}"):
        small_model("mmpose")(torch.rand(1, 3, *size))


def test_hourglass52_refuses_coco_size() -> None:
    with torch.device("meta"):
        model, images = models.build("hourglass52"), torch.empty(1, 3, 256, 192)
    with pytest.raises(ValueError, match=r"multiple of 128, .*\(128, 256, 384, \.\.\.\), got height 256, width 192"):
        model(images)


@pytest.mark.parametrize("size", [(64, 96), (63, 64), (0, 64)])
def test_princeton_wrong_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"multiple of 64 .*got height {size[0]}, width {size[1]}"):
        small_model("princeton")(torch.rand(1, 3, *size))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(3, 64, 64), ValueError, r"images must have shape \(N, 3, H, W\), got \(3, 64, 64\)"),
        (torch.zeros(1, 64, 64, 3), ValueError, r"images must have shape \(N, 3, H, W\), got \(1, 64, 64, 3\)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, "floating point.* got torch.uint8"),
        ([[1.0]], TypeError, "images must be a torch.Tensor .*got list"),
    ],
)
def test_wrong_images(family: str, images: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        small_model(family)(images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.build("hourglass53"), "name must be one of .*'hg1'.* got 'hourglass53'"),
        (lambda: small_model("mmpose", "fast"), "implementation must be one of .* got 'fast'"),
        (lambda: models.HourglassPose(num_stacks=0), "num_stacks must be at least 1, got 0"),
        (lambda: models.StackedHourglass(num_stacks=0), "num_stacks must be at least 1, got 0"),
        (lambda: models.HourglassPose(stem_channels=(64, 128)), "stem_channels must be two numbers"),
        (lambda: models.StackedHourglass(stem_channels=(64,)), "stem_channels must be two numbers"),
        (lambda: models.HourglassPose(downsample_times=6), "depth \\+ 1 numbers in stage_channels and stage_blocks"),
        (lambda: hgnn.NewellHourglass(0, 8), "depth must be at least 1"),
    ],
)
def test_wrong_construction(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        make()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: models.build(["hg1"]), TypeError, "build: name must be one of .* got list"),
        (lambda: models.build("hg1", num_keypoints="16"), TypeError, "num_keypoints must be an int, got str '16'"),
        (lambda: models.build("hg1", num_keypoints=0), ValueError, "num_keypoints must be at least 1, got 0"),
        (lambda: models.build("hg1", channels=2.5), TypeError, "channels must be an int, got float 2.5"),
        (
            lambda: models.build("hg1", channels=1 << 40),
            ValueError,
            "channels must be at most 65536, got 1099511627776",
        ),
        (lambda: models.build("hg1", increase=-300), ValueError, "increase must be at least -254, got -300"),
        (lambda: models.build("hg1", num_stacks=1 << 30), ValueError, "num_stacks must be at most 256"),
        (
            lambda: models.build("hg1", stem_channels=None),
            TypeError,
            "stem_channels must be a sequence of ints, got None",
        ),
        (lambda: models.build("hg1", implementation=None), TypeError, "implementation must be one of .* got None"),
        (lambda: models.HourglassPose(downsample_times=0), ValueError, "downsample_times must be at least 1, got 0"),
        (lambda: models.HourglassPose(feat_channel=True), TypeError, "feat_channel must be an int, got bool True"),
        (lambda: models.HourglassPose(stage_channels=256), TypeError, "stage_channels must be a sequence of ints"),
        (lambda: models.HourglassPose(stage_channels=()), ValueError, "stem_channels .* and stage_channels ()"),
        (lambda: models.HourglassPose(stage_blocks=(2, 0, 2, 2, 2, 4)), ValueError, "stage_blocks must be at least 1"),
        (lambda: models.HourglassPose(stem_channels=(0, 256)), ValueError, r"stem_channels\[0\] must be at least 1"),
        (lambda: small_model("mmpose").reset_parameters(3), TypeError, "init must be one of .* got int 3"),
    ],
)
def test_construction_names_the_argument(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message), torch.device("meta"):
        make()


@pytest.mark.parametrize("family", FAMILIES)
def test_implementations_share_weights_and_results(family: str) -> None:
    torch.manual_seed(0)
    fused, plain = (small_model(family, name, increase=4) for name in ("fused", "reference"))
    assert list(fused.state_dict()) == list(plain.state_dict())
    for p in fused.parameters():
        nn.init.normal_(p, std=0.2)
    plain.load_state_dict(fused.state_dict())
    images = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        for a, b in zip(fused.eval()(images), plain.eval()(images), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_input_layout_does_not_matter(family: str) -> None:
    model = small_model(family).eval()
    images = torch.rand(2, 3, 64, 64)
    views = [images.contiguous(memory_format=torch.channels_last), torch.rand(2, 3, 64, 128)[..., ::2].copy_(images)]
    with torch.no_grad():
        expected = model(images)
        for view in views:
            for a, b in zip(model(view), expected, strict=True):
                assert torch.equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_runs_channels_last(family: str) -> None:
    model = small_model(family)
    seen = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(torch.rand(2, 3, 64, 128))
    assert seen and all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)
    assert all(p.is_contiguous() for p in model.parameters())  # flattened by LBFGS, pruning, safetensors


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_deepcopy_and_pickle(family: str, implementation: str) -> None:
    model = small_model(family, implementation).eval()
    images = torch.rand(1, 3, 64, 64)
    file = io.BytesIO()
    torch.save(model, file)  # with pickle's protocol 2
    file.seek(0)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
        assert twin.memory_format == model.memory_format
        assert all(torch.equal(a, b) for a, b in zip(twin(images), model(images), strict=True))
        assert {n for n, p in twin.named_parameters() if p.requires_grad} == {
            n for n, p in model.named_parameters() if p.requires_grad
        }


def test_mmpose_initialisation() -> None:
    model = small_model("mmpose")
    weights = torch.cat([m.weight.detach().flatten() for m in model.modules() if isinstance(m, nn.Conv2d)])
    assert float(weights.mean()) == pytest.approx(0, abs=5e-5) and float(weights.std()) == pytest.approx(
        0.001, rel=0.05
    )
    assert not any(layer.bias.any() for layer in model.head.multi_final_layers)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight)) and not module.bias.any()


def test_kaiming_initialisation() -> None:
    drawn = {}
    for implementation in IMPLEMENTATIONS:
        model = small_model("mmpose", implementation)
        torch.manual_seed(3)
        model.reset_parameters("kaiming")
        drawn[implementation] = model.state_dict()
    assert all(torch.equal(value, drawn["fused"][name]) for name, value in drawn["reference"].items())
    scaled = [  # by what makes each convolution's standard deviation 1
        module.weight.detach().flatten() * math.sqrt(module.weight[0].numel() / 2)
        for module in model.backbone.modules()
        if isinstance(module, nn.Conv2d)
    ]
    assert float(torch.cat(scaled).std()) == pytest.approx(1, rel=0.05)
    assert min(float(weights.std()) for weights in scaled) > 0.7
    head = torch.cat([layer.weight.detach().flatten() for layer in model.head.multi_final_layers])
    assert float(head.std()) == pytest.approx(0.001, rel=0.3)
    with pytest.raises(ValueError, match="init must be one of 'peer', 'kaiming'; got 'he'"):
        model.reset_parameters("he")


def test_only_weights_that_run_are_trained() -> None:
    """What the peers make but never run is frozen; all the rest gets a gradient."""
    for model in (
        small_model("mmpose"),
        small_model("princeton"),
        small_model("mmpose", num_stacks=1),
    ):
        sum(h.square().sum() for h in model(torch.rand(2, 3, 64, 128))).backward()
        for name, p in model.named_parameters():
            assert (p.grad is not None) == p.requires_grad, name
        frozen = {name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad}
        if isinstance(model, models.HourglassPose):
            assert frozen == (set() if len(model.backbone.hourglass_modules) > 1 else {"inters"})


@pytest.mark.parametrize("package", [reference, hgnn])
def test_hourglass_modules_stand_alone(package: object) -> None:
    x = torch.randn(2, 8, 16, 8)
    assert package.HourglassModule(2, (8, 6, 10), (1, 2, 1)).eval()(x).shape == x.shape
    assert package.NewellHourglass(2, 8, increase=4).eval()(x).shape == x.shape


@pytest.mark.parametrize(("stride", "out_channels", "shortcut"), [(1, 6, False), (2, 6, True), (1, 8, True)])
def test_basic_block_has_the_peers_keys(stride: int, out_channels: int, shortcut: bool) -> None:
    block = hgnn.BasicBlock(6, out_channels, stride)
    prefixes = {name.rpartition(".")[0] for name in block.state_dict()}
    assert prefixes == {"conv1", "bn1", "conv2", "bn2"} | ({"downsample.0", "downsample.1"} if shortcut else set())
    assert block(torch.randn(2, 6, 9, 7)).shape == (2, out_channels, -(-9 // stride), -(-7 // stride))


def test_basic_block_takes_a_shortcut_of_the_caller() -> None:
    shortcut = nn.AvgPool2d(2)
    block = hgnn.BasicBlock(6, 6, 2, shortcut).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 6, 8, 8)
    torch.testing.assert_close(block(x), shortcut(x))
