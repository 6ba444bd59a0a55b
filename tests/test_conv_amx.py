"""The fused convolution in bfloat16 by AMX's tiles, against float64, and which instruction sets are chosen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hgfast import _native, reference
from hgfast.ops import conv_bias_act
from hgfast.ops._conv_native import ConvShape, pack, query
from tests.conv_calls import BFLOAT16_ERROR, DIRECT_TILES, check_bfloat16, double, has_tiles, make
from tests.tolerances import relative_error

pytestmark = pytest.mark.skipif(not has_tiles(), reason="no AMX, or no permission to use it")


def call(*sizes: int, extras: str = "") -> tuple[Tensor, Tensor]:
    """conv_bias_act on arguments in bfloat16, and the same in float64."""
    arguments = make(*sizes, extras=extras)
    half = {name: value.bfloat16() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    return conv_bias_act(**half), reference.conv_bias_act(**double(half))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [(24, 40, 18), (32, 32, 64), (3, 1, 1), (34, 17, 6), (64, 65, 96)])
def test_every_epilogue(stride: int, threads: int, channels: tuple[int, int, int]) -> None:
    check_bfloat16(DIRECT_TILES, stride, threads, channels)


# Rows of 16 to 64 pixels are read with a border; others and channels that fill no step are gathered.
@pytest.mark.parametrize("width", [1, 7, 16, 17, 24, 32, 47])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (5, 3), (7, 2)])
@pytest.mark.parametrize("channels", [(3, 20), (32, 96), (96, 33)])
def test_sizes(width: int, kernel: int, stride: int, channels: tuple[int, int]) -> None:
    for height, extras in zip((1, 5, 19), ("rn", "ro", "lu"), strict=True):
        out, expected = call(2, height, width, *channels, kernel, stride, extras=extras)
        assert out.dtype == torch.bfloat16 and relative_error(out, expected) <= BFLOAT16_ERROR


def test_blocks_of_weights_larger_than_a_cache() -> None:
    for side in (2, 16, 32):
        out, expected = call(1, side, side, 384, 256, 3, 1, extras="r")
        assert relative_error(out, expected) <= BFLOAT16_ERROR


def test_chosen_for_every_convolution_in_bfloat16_alone() -> None:
    lib = _native.library("cpu")
    sizes = ConvShape(1, 8, 8, 3, 16, 3, 2, dtype=torch.bfloat16)
    assert query(lib, sizes, 1).kernel == "direct, AMX bf16 products"
    assert query(lib, sizes, 1, 1).kernel == "direct, float32 products"
    assert "AMX" not in query(lib, ConvShape(1, 8, 8, 3, 16, 3, 2), 1).kernel
    with pytest.raises(ValueError, match="algorithm 11 does not fit"):
        query(lib, ConvShape(1, 8, 8, 3, 16, 3, 2), 1, DIRECT_TILES)


def test_packed_weights_do_not_depend_on_the_size() -> None:
    lib, weight = _native.library("cpu"), torch.randn(40, 64, 3, 3)
    packed = []
    for side, threads in ((4, 1), (16, 2), (40, 1)):
        sizes = ConvShape(1, side, side, 64, 40, 3, 1, dtype=torch.bfloat16)
        packed.append(pack(lib, sizes, query(lib, sizes, threads), weight, None, threads))
    assert all(torch.equal(packed[0], other) for other in packed[1:])


def test_nan_and_infinity_stay_where_they_are() -> None:
    for side, channels, kernel in ((4, 16, 1), (20, 32, 3), (20, 3, 7)):
        a = make(1, side, side, channels, 40, kernel=kernel)
        a["x"][0, 1, 1, 2], a["x"][0, 2, side - 1, side - 1] = float("nan"), float("inf")
        half = {k: v.bfloat16() if isinstance(v, Tensor) else v for k, v in a.items()} | {"relu": False}
        exact = reference.conv_bias_act(**double(half))
        assert torch.equal(conv_bias_act(**half).isnan(), exact.isnan())


def test_a_small_workspace_is_refused() -> None:
    lib, sizes = _native.library("cpu"), ConvShape(1, 4, 4, 8, 8, 3, 1, dtype=torch.bfloat16)
    needs = query(lib, sizes, 1)
    with pytest.raises(ValueError, match=f"workspace must have {needs.workspace_bytes} bytes for 1 threads, got 64"):
        lib.conv(sizes.native(lib, needs.algorithm), *[0] * 10, 0, 0, 64, 1)
