"""Convolutions of codes by the kernels, and in integers by torch in float64, which holds them exactly.

As a module: all of CASES on this process's instruction set.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import hgfast
from hgfast import _native
from hgfast.frozen.codes import Codes
from hgfast.ops._conv_native import ConvShape

# n, h, w, c, k, kernel, stride
CASES = [
    (2, 5, 7, 4, 5, 3, 1),
    (1, 8, 9, 64, 32, 1, 1),
    (2, 9, 6, 128, 70, 3, 2),
    (1, 4, 4, 20, 33, 1, 2),
    (1, 3, 5, 64, 16, 7, 1),
    (1, 1, 1, 64, 1, 3, 1),
    (1, 17, 33, 64, 64, 3, 1),
    (1, 6, 40, 192, 40, 1, 1),
    (3, 2, 2, 512, 48, 3, 1),
]
LIB: Any = _native.library("cpu")


def codes_of(x: Tensor, codes: Codes) -> Tensor:
    """What a number's code is, before rounding, float64."""
    return (x.double() / codes.scale + codes.zero).clamp(0, 255)


def numbers(x: Tensor, codes: Codes) -> Tensor:
    """What codes stand for, float64."""
    return codes.scale * (x.double() - codes.zero)


@dataclass
class Int8Call:
    """A convolution of random codes; `more`: r residual, R one of codes, m merge, M one of codes, 2 second, e extra."""

    sizes: tuple[int, ...]
    more: str = ""
    relu: bool = False
    dtype: torch.dtype = torch.float32
    threads: int = 1
    extreme: bool = False
    seed: int = 0
    x_zero: int = 3
    y_codes: Codes = field(default_factory=lambda: Codes(0.05, 100))

    def __post_init__(self) -> None:
        n, h, w, c, k, kernel, stride = self.sizes
        self.generator = torch.Generator().manual_seed(self.seed)
        p, q = -(-h // stride), -(-w // stride)
        self.size = (n, p, q, k)
        self.out = (n, 2 * p - 1, 2 * q, k) if "m" in self.more.lower() else self.size
        extra = (2 * p - 1, 2 * q, 12, 2) if "e" in self.more else (0, 0, 0, 1)
        self.shape = ConvShape(n, h, w, c, k, kernel, stride, *self.out[1:3], *extra, dtype=self.dtype)
        self.x = self.codes(n, h, w, c)
        self.weight, self.scale = self.weights(k, c, kernel, kernel), torch.rand(k, generator=self.generator) * 1e-4
        self.extra_x = self.codes(n, *extra[:3]) if "e" in self.more else None
        self.extra = self.weights(k, extra[2]) if "e" in self.more else None
        self.bias, self.scale2, self.shift2 = (torch.randn(k, generator=self.generator) for _ in range(3))
        self.residual = self.addend("r", self.size)
        self.upsample_to = self.addend("m", self.out)

    def codes(self, *shape: int) -> Tensor:
        """Random codes; of the extreme ones, all the largest."""
        x = torch.randint(0, 256, shape, dtype=torch.uint8, generator=self.generator)
        return torch.full_like(x, 255) if self.extreme else x

    def weights(self, *shape: int) -> Tensor:
        """Random weights; of the extreme ones, all the smallest."""
        weight = torch.randint(-128, 128, shape, generator=self.generator).to(torch.int8)
        return torch.full_like(weight, -128) if self.extreme else weight

    def addend(self, letter: str, shape: tuple[int, ...]) -> Tensor | None:
        """Numbers, codes for the capital letter, or None."""
        if letter.upper() in self.more:
            return self.codes(*shape)
        return torch.randn(shape, generator=self.generator).to(self.dtype) if letter in self.more else None

    ADDEND = Codes(0.03, 77)

    def expected(self) -> tuple[Tensor, Tensor]:
        """y and y2 as numbers, float64."""
        n, h, w, c, k, kernel, stride = self.sizes
        x = F.pad(self.x.permute(0, 3, 1, 2).double(), (kernel // 2,) * 4, value=self.x_zero)
        v = F.conv2d(x, self.weight.double(), stride=stride)
        if self.extra is not None and self.extra_x is not None:
            v = v + F.conv2d(self.extra_x.permute(0, 3, 1, 2).double(), self.extra.double()[..., None, None], stride=2)
        v = v.permute(0, 2, 3, 1) * self.scale.double() + self.bias.double()
        v = v if self.residual is None else v + self.as_numbers(self.residual)
        v = v.relu() if self.relu else v
        if self.upsample_to is not None:
            v = v.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, : self.out[1], : self.out[2]]
            v = v + self.as_numbers(self.upsample_to)
        return v, (self.scale2.double() * v + self.shift2.double()).relu()

    def as_numbers(self, addend: Tensor) -> Tensor:
        """In float64."""
        return numbers(addend, self.ADDEND) if addend.dtype == torch.uint8 else addend.double()

    def run(self, both: bool = True) -> list[Tensor | None]:
        """y, its codes, y2, its codes; without `both` only the codes."""
        native = self.shape.native(LIB)
        packed_bytes, workspace_bytes, _, _ = LIB.conv_int8_query(native, self.threads)
        packed = torch.empty(packed_bytes, dtype=torch.uint8)
        extra = _native.ptr(self.extra)
        LIB.conv_int8_pack(native, _native.ptr(self.weight), extra, _native.out(packed), self.threads)
        workspace = torch.empty(workspace_bytes, dtype=torch.uint8)
        made = [torch.full(self.out, 7.0).to(t) for t in (self.dtype, torch.uint8) * 2]
        outputs = [tensor if both or i % 2 else None for i, tensor in enumerate(made)]
        if "2" not in self.more:
            outputs[2:] = [None, None]
        addends = self.residual, self.upsample_to
        ways = [(int(t is not None and t.dtype == torch.uint8), self.ADDEND.native()) for t in addends]
        codes = LIB.ConvCodes(self.x_zero, *ways[0], *ways[1], self.y_codes.native(), self.y_codes.native())
        read = [self.x, self.extra_x, packed, self.scale, self.bias, self.residual, self.upsample_to]
        vectors = [self.scale2, self.shift2] if "2" in self.more else [None, None]
        addresses = [_native.ptr(t) for t in [*read, *outputs[:2], *vectors, *outputs[2:]]]
        LIB.conv_int8(
            native, codes, *addresses, int(self.relu), _native.inout(workspace), workspace_bytes, self.threads
        )
        return outputs

    def check(self) -> None:
        """Numbers to the rounding of their dtype, codes to a half and the rounding of float32."""
        for both in (True, False):
            y, y_codes, y2, y2_codes = self.run(both)
            for exact, number, code in zip(self.expected(), (y, y2), (y_codes, y2_codes), strict=True):
                size = exact.abs().max().clamp(min=1)
                if number is not None:
                    error = (number.double() - exact).abs() / (exact.abs() + 1e-3 * size)
                    assert error.max() <= (2**-8 if self.dtype == torch.bfloat16 else 1e-4), (self, error.max())
                if code is not None:
                    off = (code.double() - codes_of(exact, self.y_codes)).abs().max()
                    assert off <= 0.5 + 1e-5 * float(size) / self.y_codes.scale, (self, off)


def random_call(seed: int) -> Int8Call:
    """Sizes, and what is fused, by chance."""
    r = random.Random(seed)
    sizes = (r.randint(1, 3), r.randint(1, 20), r.randint(1, 20), 4 * r.randint(1, 40), r.randint(1, 80))
    more = "".join(r.choice(letters) for letters in ("rR ", "mM  ", "2 ", "e ")).replace(" ", "")
    zero, codes = r.choice([0, 128, 255]), Codes(r.uniform(0.02, 0.2), r.choice([0, 100, 255]))
    dtype = r.choice([torch.float32, torch.bfloat16])
    kernel, stride, threads = r.choice([1, 3, 3, 7]), r.choice([1, 2]), r.choice([1, 2, 5])
    return Int8Call((*sizes, kernel, stride), more, r.random() < 0.5, dtype, threads, False, seed, zero, codes)


if __name__ == "__main__":
    for sizes in CASES[:5]:
        for more in ("r2", "Me"):
            Int8Call(sizes, more).check()
    Int8Call((1, 1, 1, 7308, 2, 3, 1), extreme=True, y_codes=Codes(1e3, 255)).check()
    print(hgfast.build_info()["cpu"]["isa"])
