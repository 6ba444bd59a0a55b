"""What does not fit is refused before any kernel or torch operator sees it, by messages that name the argument.

`tests/fuzz` looks for more of these; here is one of each kind that it has found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hgfast.nn
from hgfast import _switches, ops
from hgfast.codecs.affine import box_center_size
from tests.op_samples import SAMPLES
from tests.sample_checks import map_tensors

WITHOUT_PIXELS = torch.ones(1, 4, 3, 0)


def called(name: str, place: int, value: Any, sample: int = 0) -> Any:
    """The operator with one argument of a sample replaced, or changed by a function."""
    args = list(map_tensors(Tensor.detach, SAMPLES[name]("cpu")[sample]))
    args[place] = value(args[place]) if callable(value) else value
    return getattr(torch.ops.hgfast, name).default(*args)


@pytest.mark.parametrize(
    ("name", "place", "value", "words"),
    [
        ("batch_norm_stats", 0, Tensor.long, r"\bx must have one of the dtypes"),
        ("batch_norm_stats", 0, torch.ones(()), r"\bx must have 4 dimensions"),
        ("batch_norm_backward_reduce", 2, lambda x: x[..., 1:], r"grad must .*\bx has \(2, 20, 3, 3\)"),
        ("batch_norm_backward_reduce", 4, lambda mask: mask[1:], r"\bmask must have shape .*\bx\b"),
        ("batch_norm_act_apply", 0, lambda x: x[..., 1:], r"residual must .*\bx has \(2, 20, 3, 3\)"),
        ("bottleneck", 3, Tensor.byte, r"\bweight1 must have"),
        ("bottleneck", 9, torch.ones(()), r"\bupsample_to must have 4 dimensions"),
        ("conv2d", 3, 0, r"\bstride must be at least 1"),
        ("conv2d", 0, lambda x: x[:, :, :0], r"\bx must have channels and pixels"),
        ("conv2d_input_grad", 4, 2**62, r"\bstride must be at most"),
        ("conv2d_input_grad", 2, 2**62, r"grad must .*\bh = "),
        ("conv2d_weight_grad", 3, 0, r"\bstride must be at least 1"),
        ("conv2d_weight_grad", 2, 2**62, r"\bkernel must be at most"),
        ("conv_bias_act", 0, Tensor.byte, r"\bx must have one of the dtypes"),
        ("conv_bias_act", 6, lambda skip: skip[..., :0], r"\bupsample_to must .* have pixels"),
        ("decode_heatmaps", 2, [0], r"\bflip_indices must be empty"),
        ("gaussian_heatmaps", 5, -1, r"\bkind must be at least 0"),
        ("gaussian_heatmaps", 2, 2**62, r"\bwidth must be at most"),
        ("keypoint_mse", 0, lambda pred: pred[:, 1:], r"target must .*\bpred has"),
        ("keypoint_mse_from_points", 4, 4, r"\bkind must be at most 3"),
        ("max_pool_backward", 1, lambda x: x[0], r"\bx must have 4 dimensions"),
        ("max_pool_backward", 1, Tensor.long, r"\bx must have one of the dtypes"),
        ("soft_argmax", 1, float("nan"), r"\btemperature must be finite"),
        ("soft_argmax", 2, 2**62, r"\bwindow must be at most"),
        ("upsample_add", 1, lambda low: low[..., :0], r"\blow must not be empty"),
        ("upsample_add_backward", 2, 2**62, r"\blow_w must be at most"),
        ("upsample_add_backward", 1, 0, r"\blow_h must be at least 1"),
        ("upsample_add_out", 2, lambda out: out[:, :, :0], r"\bout must have shape .*skip has"),
    ],
)
def test_an_operator_names_the_argument(name: str, place: int, value: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        called(name, place, value)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, lambda x: x[:, :7], r"\brunning_mean must have shape \(7,\)"),
        (1, None, r"\brunning_mean and running_var must be given both or neither"),
        (2, Tensor.long, r"\brunning_var must have one of the dtypes"),
        (3, torch.zeros(1, dtype=torch.int64), r"\bnum_batches_tracked must have shape"),
        (3, torch.zeros(()), r"\bnum_batches_tracked must have one of the dtypes int64"),
        (3, None, r"\bmomentum is needed, or num_batches_tracked"),
    ],
)
def test_running_statistics_of_batch_norm_stats(place: int, value: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        called("batch_norm_stats", place, value, 3)


def test_the_operator_that_decodes_takes_one_matrix_for_all_maps() -> None:
    matrix = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, -1.0]])
    found = []
    for affine in (matrix, matrix.repeat(2, 1, 1)):
        torch.manual_seed(0)
        found.append(called("decode_heatmaps", 4, affine, 1)[0])
    assert torch.equal(*found)


CALLS: dict[str, Callable[[Tensor], Any]] = {
    "conv2d": lambda x: ops.conv2d(x, torch.ones(2, 4, 3, 3)),
    "conv_bias_act": lambda x: ops.conv_bias_act(x, torch.ones(2, 4, 3, 3), None),
    "bottleneck": lambda x: ops.bottleneck(
        x, *(torch.ones(4),) * 2, torch.ones(2, 4, 1, 1), torch.ones(2), torch.ones(2, 2, 3, 3), torch.ones(2),
        torch.ones(4, 2, 1, 1), torch.ones(4),
    ),
    "ConvModule": hgfast.nn.ConvModule(4, 4, 3),
    "ConvModule with ReLU alone": hgfast.nn.ConvModule(4, 4, 3, bn=False),
    "ConvModule with an even kernel": hgfast.nn.ConvModule(4, 4, 2),
    "BasicBlock": hgfast.nn.BasicBlock(4, 4),
    "Bottleneck": hgfast.nn.Bottleneck(4, 4).eval(),
    "HourglassModule": hgfast.nn.HourglassModule(1, [4, 4], [1, 1]),
}  # fmt: skip


@pytest.mark.parametrize("x", [WITHOUT_PIXELS, 3, torch.ones(4, 3, 3), torch.ones(1, 4, 3, 3).to_sparse()])
@pytest.mark.parametrize("name", CALLS)
def test_maps_without_pixels_and_what_is_no_map(name: str, x: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"\bx must"):
        CALLS[name](x)


def test_a_convolution_with_relu_alone_is_torchs() -> None:
    module, x = hgfast.nn.ConvModule(4, 8, 3, 2, bn=False), torch.randn(2, 4, 9, 6)
    wanted = torch.relu(torch.conv2d(x, module.conv.weight, None, 2, 1))
    torch.testing.assert_close(module(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 0, 16, 4), (0, 3, 5, 5), (2, 3, 0, 4)])
def test_a_merge_without_values(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    skip, low = torch.ones(shape, requires_grad=True), torch.ones(*shape[:2], 17, 4, requires_grad=True)
    for disabled in (frozenset[str](), frozenset({"upsample_add"})):
        monkeypatch.setattr(_switches, "disabled", disabled)
        merged = ops.upsample_add(skip, low)
        assert merged.shape == skip.shape
        merged.sum().backward()
        assert low.grad is not None and not low.grad.any()


def test_the_block_without_a_gradient_names_who_asks_for_one() -> None:
    args = list(SAMPLES["bottleneck"]("cpu")[0])
    args[4] = nn.Parameter(args[4])
    with pytest.raises(ValueError, match=r"bottleneck: has no gradient.*\bbias1\b"):
        ops.bottleneck(*args)


def test_a_residual_that_does_not_fit_says_what_it_should_fit() -> None:
    x, weight = torch.ones(1, 4, 6, 5), torch.ones(3, 4, 1, 1)
    with pytest.raises(ValueError, match=r"x of shape \(1, 4, 6, 5\), weight of shape \(3, 4, 1, 1\) and stride 2"):
        ops.conv_bias_act(x, weight, None, 2, torch.ones(1, 3, 6, 5))


def test_tensors_without_data_are_named() -> None:
    with pytest.raises(ValueError, match="x on meta"):
        hgfast.nn.NewellHourglass(1, 4).eval()(torch.ones(1, 4, 8, 8, device="meta"))


def test_a_threshold_that_no_float_holds() -> None:
    points, scores = ops.heatmap_peaks(torch.ones(1, 1, 3, 3), 1, threshold=10**400)
    assert (points == -1).all() and not scores.any()


def test_boxes_of_boxes() -> None:
    with pytest.raises(ValueError, match="boxes must have shape"):
        box_center_size([[[1, 2, 3, 4]]])
