"""The convolution of codes, their making, and maxima of them, against exact arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hgfast import _native
from hgfast.frozen.codes import Codes
from hgfast.ops._conv_native import ConvShape
from tests.ahead import Ahead
from tests.int8_calls import CASES, LIB, Int8Call, codes_of, numbers, random_call
from tests.processes import on_lesser_processors

AHEAD = Ahead(lambda: on_lesser_processors("tests.int8_calls"))
MORE = ["", "r", "R2", "m2", "M", "rM", "e", "er2", "RMe2"]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("sizes", CASES)
def test_all_that_is_fused(sizes: tuple[int, ...], more: str, threads: int) -> None:
    for relu, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        Int8Call(sizes, more, relu, dtype, threads).check()


@pytest.mark.parametrize("seed", range(40))
def test_random_calls(seed: int) -> None:
    random_call(seed).check()


def test_longest_sums_hold() -> None:
    """255 times -128, as often as is allowed; one product more is refused."""
    Int8Call((1, 2, 2, 7308, 2, 3, 1), extreme=True, x_zero=255, y_codes=Codes(1e3, 255)).check()
    with pytest.raises(ValueError, match="sums must be of at most 65793 products"):
        LIB.conv_int8_query(ConvShape(1, 2, 2, 7312, 2, 3, 1).native(LIB), 1)


@pytest.mark.parametrize("zero", [0, 1, 255])
def test_borders_are_the_code_of_zero(zero: int) -> None:
    """An image of zeros gives the bias, at its borders too."""
    for c, kernel in ((4, 3), (64, 7), (68, 3)):
        call = Int8Call((1, 5, 6, c, 20, kernel, 1), x_zero=zero)
        call.x.fill_(zero)
        call.bias -= call.scale * zero * call.weight.sum((1, 2, 3))
        y = call.run()[0]
        assert y is not None and (y - y[0, 2, 2]).abs().max() == 0


def test_saturation() -> None:
    for scale, zero in ((1e-6, 0), (1e-6, 128), (1e6, 7)):
        call = Int8Call((1, 6, 6, 64, 32, 3, 1), y_codes=Codes(scale, zero))
        call.check()
        codes = call.run()[1]
        assert codes is not None
        if scale < 1:
            assert set(codes.unique().tolist()) == {0, 255}
        else:
            assert bool((codes == zero).all())


def quantise(x: torch.Tensor, codes: Codes, threads: int = 1) -> torch.Tensor:
    out = torch.empty(x.shape, dtype=torch.uint8)
    dtype = _native.DTYPE_CODES[x.dtype]
    LIB.quantise(_native.ptr(x), _native.out(out), *codes.native(), dtype, x.numel(), threads)
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 3, 16, 17, 1000, 70_001])
def test_quantise(count: int, dtype: torch.dtype) -> None:
    x = (torch.randn(count, generator=torch.Generator().manual_seed(count)) * 3).to(dtype)
    for codes in (Codes(0.03, 0), Codes(0.02, 128), Codes(1e-6, 255), Codes(100.0, 255)):
        for threads in (1, 3):
            assert (quantise(x, codes, threads).double() - codes_of(x, codes)).abs().max() <= 0.5 + 1e-4


def test_ties_go_to_the_even_code() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, 253.5, 254.5, -0.5, 0.4999, 255.5])
    assert quantise(x, Codes(1.0, 0)).tolist() == [0, 2, 2, 254, 254, 0, 0, 255]


def test_what_is_no_number() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e-45, -0.0])
    assert quantise(x, Codes(1.0, 5)).tolist() == [0, 255, 0, 255, 0, 5, 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dequantise(dtype: torch.dtype) -> None:
    x, codes = torch.arange(256, dtype=torch.uint8), Codes(0.25, 100)
    out = torch.empty(256, dtype=dtype)
    LIB.dequantise(_native.ptr(x), _native.out(out), *codes.native(), _native.DTYPE_CODES[dtype], 256, 2)
    assert (out.double() - numbers(x, codes)).abs().max() == 0


@pytest.mark.parametrize("size", [(1, 2, 2, 1), (2, 5, 7, 3), (1, 8, 6, 64), (1, 4, 4, 77)])
def test_max_pool(size: tuple[int, int, int, int]) -> None:
    n, h, w, c = size
    x = torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    y = torch.empty(n, h // 2, w // 2, c, dtype=torch.uint8)
    LIB.max_pool_codes(_native.ptr(x), _native.out(y), n, h, w, c, 2)
    assert torch.equal(F.max_pool2d(x.permute(0, 3, 1, 2).float(), 2), y.permute(0, 3, 1, 2).float())


def test_arguments() -> None:
    for shape, message in (
        (ConvShape(1, 4, 4, 6, 8, 3, 1), "channels must be multiples of 4, got 6 and 0"),
        (ConvShape(1, 4, 4, 8, 8, 3, 1, 4, 4, 4, 4, 3), "multiples of 4, got 8 and 3"),
        (ConvShape(1, 4, 4, 8, 8, 3, 1, dtype=torch.float16), "numbers must be float32 or bfloat16"),
    ):
        with pytest.raises(ValueError, match=message):
            LIB.conv_int8_query(shape.native(LIB), 1)
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scale of codes must be positive and finite"):
            quantise(torch.ones(3), Codes(scale, 0))
    for zero in (-1, 256):
        with pytest.raises(ValueError, match="code of zero must be from 0 to 255"):
            quantise(torch.ones(3), Codes(1.0, zero))
    call = Int8Call((1, 4, 4, 8, 8, 3, 1))
    codes = LIB.ConvCodes(0, 0, (1.0, 0), 0, (1.0, 0), (1.0, 0), (1.0, 0))
    with pytest.raises(ValueError, match="workspace must have"):
        LIB.conv_int8(call.shape.native(LIB), codes, *[0] * 13, 0, 0, 0, 1)


def test_lesser_processors() -> None:
    for isa, words in AHEAD.result().items():
        assert words == [isa]
