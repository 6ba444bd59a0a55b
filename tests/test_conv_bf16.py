"""The fused convolution in bfloat16 on the CPU: all algorithms and instruction sets against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hgfast import _native, reference
from hgfast.ops import conv_bias_act
from hgfast.ops._conv_native import ConvShape, pack, query
from tests.ahead import Ahead
from tests.conv_calls import BFLOAT16_ERROR, FLOAT_ALGORITHMS, PAIR_ALGORITHMS, check_bfloat16, double, has_pairs, make
from tests.processes import on_lesser_processors
from tests.tolerances import relative_error

AHEAD = Ahead(lambda: on_lesser_processors("tests.conv_calls"))
needs_pairs = pytest.mark.skipif(not has_pairs(), reason="no AVX512_BF16")


def call(*sizes: int, extras: str = "") -> tuple[Tensor, Tensor]:
    """conv_bias_act on arguments in bfloat16, and the same in float64."""
    arguments = make(*sizes, extras=extras)
    half = {name: value.bfloat16() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    return conv_bias_act(**half), reference.conv_bias_act(**double(half))


def one_call(x: Tensor, weight: Tensor, stride: int, algorithm: int) -> tuple[Tensor, Tensor]:
    """A 3x3 convolution of images in bfloat16, and these images."""
    lib, (n, c, h, w), k = _native.library("cpu"), x.shape, len(weight)
    sizes = ConvShape(n, h, w, c, k, 3, stride, dtype=torch.bfloat16)
    needs = query(lib, sizes, 1, algorithm)
    x = x.bfloat16().contiguous(memory_format=torch.channels_last)
    y = torch.empty((n, k, *sizes.result), dtype=x.dtype, memory_format=torch.channels_last)
    packed, workspace = pack(lib, sizes, needs, weight, None, 1), torch.empty(needs.workspace_bytes, dtype=torch.uint8)
    addresses = [_native.ptr(t) for t in (x, packed, None, None, None, None, y, None, None, None)]
    lib.conv(sizes.native(lib, algorithm), *addresses, 0, _native.ptr(workspace), needs.workspace_bytes, 1)
    return y, x


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("algorithm", "stride"), FLOAT_ALGORITHMS)
def test_float32_products(algorithm: int, stride: int, threads: int) -> None:
    check_bfloat16(algorithm, stride, threads, (24, 40, 17))


@needs_pairs
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("algorithm", "stride"), PAIR_ALGORITHMS)
@pytest.mark.parametrize("channels", [(24, 40, 18), (32, 32, 64), (2, 1, 2), (34, 17, 6), (70, 65, 96)])
def test_pairs(algorithm: int, stride: int, threads: int, channels: tuple[int, int, int]) -> None:
    check_bfloat16(algorithm, stride, threads, channels)


@needs_pairs
@pytest.mark.parametrize(("algorithm", "stride"), PAIR_ALGORITHMS[2:])
@pytest.mark.parametrize("channels", [(1, 1, 2), (3, 17, 2), (33, 40, 4), (384, 32, 64)])
def test_int16_takes_any_channels(algorithm: int, stride: int, channels: tuple[int, int, int]) -> None:
    check_bfloat16(algorithm, stride, 2, channels)


@needs_pairs
@pytest.mark.parametrize(("algorithm", "stride"), PAIR_ALGORITHMS[2:])
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_int16_sums_do_not_overflow(algorithm: int, stride: int, scale: float) -> None:
    """Inputs and weights in one direction, which no sum of products exceeds; one channel alone; tiles of zeros."""
    c, side = 512, 12
    for kind in ("equal", "one channel", "half of zeros"):
        x, weight = torch.full((1, c, side, side), scale), torch.full((16, c, 3, 3), 1 / c)
        if kind == "one channel":
            x[:, 1:], weight[:, 1:] = 0, 0
        if kind == "half of zeros":
            x[..., side // 2 :] = 0
        out, x = one_call(x, weight, stride, algorithm)
        exact = torch.nn.functional.conv2d(x.double(), weight.double(), None, stride, 1)
        assert relative_error(out, exact) <= BFLOAT16_ERROR, kind


@needs_pairs
@pytest.mark.parametrize(("algorithm", "stride"), PAIR_ALGORITHMS[2:])
def test_int16_tells_what_is_no_number(algorithm: int, stride: int) -> None:
    x, weight = torch.randn(1, 32, 24, 24), torch.randn(16, 32, 3, 3)
    x[0, 3, 4, 4], x[0, 5, 20, 20] = float("nan"), float("inf")
    out, _ = one_call(x, weight, stride, algorithm)
    assert not out[0, :, 4 // stride, 4 // stride].isfinite().any()
    assert not out[0, :, 20 // stride, 20 // stride].isfinite().any()
    assert out[0, :, 12 // stride, 12 // stride].isfinite().all()


@needs_pairs
def test_pairs_need_even_channels() -> None:
    lib = _native.library("cpu")
    for odd in (ConvShape(1, 4, 4, 3, 8, 3, 1), ConvShape(1, 4, 4, 8, 8, 3, 1, 4, 4, 4, 4, 3)):
        with pytest.raises(ValueError, match="algorithm 7 does not fit"):
            query(lib, ConvShape(**{**vars(odd), "dtype": torch.bfloat16}), 1, algorithm=7)
    with pytest.raises(ValueError, match="algorithm 7 does not fit"):
        query(lib, ConvShape(1, 4, 4, 8, 8, 3, 1), 1, algorithm=7)


@pytest.mark.parametrize("channels", [(1, 1), (3, 17), (5, 128), (18, 33), (64, 16), (256, 40)])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (1, 1), (1, 2), (3, 1), (3, 2), (5, 3)])
def test_odd_sizes(channels: tuple[int, int], kernel: int, stride: int) -> None:
    for (h, w), extras in zip(((1, 1), (4, 9), (20, 13)), ("rn", "ro", "lu"), strict=True):
        out, expected = call(2, h, w, *channels, kernel, stride, extras=extras)
        assert out.dtype == torch.bfloat16 and relative_error(out, expected) <= BFLOAT16_ERROR


def test_stem() -> None:
    """Rows of the kernel are read in a copy of the image with a border."""
    for side, stride in ((2, 1), (33, 2)):
        out, expected = call(2, side, side + 3, 3, 20, 7, stride, extras="l")
        assert relative_error(out, expected) <= BFLOAT16_ERROR


def test_nan_and_infinity_pass_through() -> None:
    a = make(1, 4, 4, 16, 16, kernel=1)
    a["x"][0, 3, 1, 2], a["x"][0, 5, 2, 2] = float("nan"), float("inf")
    out = conv_bias_act(**{k: v.bfloat16() if isinstance(v, Tensor) else v for k, v in a.items()} | {"relu": False})
    assert out[0, :, 1, 2].isnan().all() and out[0, :, 2, 2].isinf().all()
    assert out.isnan().sum() == out.isinf().sum() == 16


def test_lesser_processors() -> None:
    for isa, words in AHEAD.result().items():
        assert words == [isa, "pairs" if isa == "avx512_bf16" else "float32"]
