"""hgfast.freeze held against the peers: golden runs, the classes of MMPose and princeton-vl, accuracy at full width."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast import models
from hgfast.frozen.freeze import relative_errors
from hgfast.ops import decode_heatmaps
from tests.golden import MAKERS, Golden, assert_within, full_width_golden, load_golden
from tests.recipe import apply_recipe, made_by_recipe
from tests.tolerances import relative_error
from tests.zoo.openmmlab import CPMHead, HourglassNet, TopdownPoseEstimator
from tests.zoo.princeton import PoseNet


def estimator(
    num_stacks: int,
    channels: Sequence[int],
    blocks: Sequence[int],
    feat_channel: int = 16,
    stem: int = 8,
    keypoints: int = 16,
) -> TopdownPoseEstimator:
    """MMPose's classes in any size."""
    model = TopdownPoseEstimator(keypoints, num_stacks)
    model.backbone = HourglassNet(len(channels) - 1, num_stacks, channels, blocks, feat_channel, stem)
    model.head = CPMHead(feat_channel, keypoints, num_stacks)
    return model


FOREIGN = {
    "mmpose_hg_reduced_1stack": partial(estimator, 1, (16, 16, 8, 12, 24), (1, 2, 2, 2, 4)),
    "mmpose_hg_reduced_2stack": partial(estimator, 2, (16, 8, 8, 12, 12), (1, 1, 2, 1, 2)),
    "princeton_posenet_2stack": partial(PoseNet, 2, 16, 16, stem=(64, 128)),
}
HEATMAPS = 3e-4  # issue 4: relative error of the whole network, float32
PIXELS = 0.05  # and of decoded key points, in heatmap pixels


@pytest.fixture(scope="module", params=sorted(MAKERS))
def golden(request: pytest.FixtureRequest) -> Golden:
    return load_golden(request.param)


def make(golden: Golden, kind: str) -> nn.Module:
    model = FOREIGN[golden.name]() if kind == "foreign" else MAKERS[golden.name](kind)
    return apply_recipe(model, golden.seed).eval()


@pytest.mark.parametrize("kind", ["reference", "fused", "foreign"])
def test_golden_heatmaps(golden: Golden, kind: str) -> None:
    frozen = hgfast.freeze(make(golden, kind))
    for prefix in ("eval0", "eval1"):
        heatmaps, expected = frozen(golden.images(f"{prefix}_x")), golden.heatmaps(prefix)
        assert len(heatmaps) == expected.shape[1]
        for s, heatmap in enumerate(heatmaps):
            floor = float(golden.arrays[f"{prefix}_f64diff"][s])
            assert_within(heatmap, expected[:, s], floor, f"{kind} {prefix} stack {s}")


def test_foreign_classes_have_the_peers_keys(golden: Golden) -> None:
    state = make(golden, "foreign").state_dict()
    assert [name for name, value in state.items() if value.is_floating_point()] == list(golden.arrays["wnames"])


def test_foreign_classes_freeze_to_the_same_network(golden: Golden) -> None:
    images = golden.images("eval0_x")
    ours, theirs = (hgfast.freeze(make(golden, kind))(images) for kind in ("reference", "foreign"))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_princeton_with_wider_levels() -> None:
    model = apply_recipe(PoseNet(2, 16, 5, increase=8, stem=(6, 8)), 4).eval()
    frozen = hgfast.freeze(model)
    assert max(relative_errors(frozen, model, torch.randn(2, 3, 64, 128))) < 1e-5
    assert len(frozen(torch.randn(1, 3, 64, 64))) == 2


def small_estimator() -> nn.Module:
    return apply_recipe(estimator(2, (8, 6, 10), (1, 2, 1), 12, 4), 5).eval()


class HeatmapHead(nn.Module):
    """MMPose's: reads the last stack only and returns a tensor."""

    def __init__(self, final_layer: nn.Module) -> None:
        super().__init__()
        self.deconv_layers, self.conv_layers, self.final_layer = nn.Identity(), nn.Identity(), final_layer

    def forward(self, feats: list[Tensor]) -> Tensor:
        return self.final_layer(self.conv_layers(self.deconv_layers(feats[-1])))


def test_mmpose_heatmap_head_reads_the_last_stack() -> None:
    model, images = small_estimator(), torch.ones(1, 3, 32, 32)
    every = hgfast.freeze(model)(images)
    model.head = HeatmapHead(model.head.multi_final_layers[1])
    (last,) = hgfast.freeze(model)(images)
    assert torch.equal(last, every[1])
    model.head.deconv_layers = nn.Sequential(nn.ConvTranspose2d(12, 12, 4, 2, 1), nn.BatchNorm2d(12), nn.ReLU())
    assert max(relative_errors(hgfast.freeze(model), model, images)) < 1e-5


def test_mmpose_0x_calls_its_head_keypoint_head() -> None:
    model, images = small_estimator(), torch.randn(1, 3, 32, 32)
    expected = hgfast.freeze(model)(images)
    model.keypoint_head = model.head
    del model.head
    assert all(torch.equal(a, b) for a, b in zip(hgfast.freeze(model)(images), expected, strict=True))


def steady_points(heatmaps: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """Key points of float64 maps, and which of them stay where they are if the maps change by the allowed error."""
    points, _ = decode_heatmaps(heatmaps, method=method)
    steady = torch.ones(points.shape[:2], dtype=torch.bool)
    size = HEATMAPS * heatmaps.norm() / heatmaps.numel() ** 0.5
    for seed in range(4):
        noise = torch.randn(heatmaps.shape, generator=torch.Generator().manual_seed(seed), dtype=heatmaps.dtype)
        moved, _ = decode_heatmaps(heatmaps + size * noise, method=method)
        steady &= ((moved - points).abs() <= PIXELS).all(-1)
    return points, steady


def test_hourglass52_at_full_width() -> None:
    """The golden run, float64, and key points, in both layouts of images; MMPose's classes."""
    golden, images = full_width_golden()
    channels, blocks = (256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4)
    model = made_by_recipe(lambda: estimator(1, channels, blocks, 256, 128), int(golden["seed"][0])).eval()
    frozen = hgfast.freeze(model)
    (heatmaps,) = frozen(images)
    floor = float(golden["hm0_0_f64diff"][0])
    assert_within(heatmaps, torch.from_numpy(golden["hm0_0"]), floor, "golden heatmaps")
    assert torch.equal(frozen(images.contiguous(memory_format=torch.channels_last))[0], heatmaps)

    model, images = model.double(), images.double()
    with torch.no_grad():
        (exact,) = model.head(model.backbone(images))
    assert relative_error(heatmaps, exact) <= HEATMAPS / 30  # 2e-6 measured
    for method in ("argmax", "quarter"):
        points, steady = steady_points(exact, method)
        assert steady.sum() >= 8
        found, _ = decode_heatmaps(heatmaps, method=method)
        assert ((found - points).abs()[steady] <= PIXELS).all()


def test_hg2_at_full_width() -> None:
    model = made_by_recipe(lambda: models.build("hg2", implementation="reference"), 6).eval()
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    heatmaps = hgfast.freeze(model)(images)
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(images.double())
    for ours, theirs in zip(heatmaps, exact, strict=True):
        assert relative_error(ours, theirs) <= HEATMAPS / 30
