"""Heatmaps to test decoding with, and hypothesis' strategy for any."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st


def figure_maps(shape: tuple[int, int, int, int], seed: int = 0, noise: float = 0.02) -> torch.Tensor:
    """Maps as a network gives them: a Gaussian anywhere, borders too, over a little noise; float32."""
    n, k, h, w = shape
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(n, k, 2, 1, 1, generator=generator) * torch.tensor([w, h]).reshape(2, 1, 1)
    height = 0.2 + torch.rand(n, k, 1, 1, generator=generator)
    x, y = torch.arange(w), torch.arange(h)[:, None]
    distance = (x - center[:, :, 0]) ** 2 + (y - center[:, :, 1]) ** 2
    return height * torch.exp(-distance / 8) + noise * torch.randn(shape, generator=generator)


def awkward_maps(h: int = 12, w: int = 14) -> dict[str, torch.Tensor]:
    """Maps (h, w) float32 that break careless decoders, by name."""
    base = figure_maps((1, 1, h, w), noise=0.0)[0, 0]
    zero, nan, inf = torch.zeros(h, w), torch.full((h, w), math.nan), math.inf
    maps = {"zero": zero, "negative": base - 2, "minus infinity": zero - inf, "all NaN": nan, "constant": zero + 0.25}
    maps["NaN and zero"] = nan.clone()
    maps["NaN and zero"][3, 4] = 0
    maps["NaN beside the peak"] = base.clone()
    y, x = divmod(int(base.argmax()), w)
    maps["NaN beside the peak"][y, min(x + 1, w - 1)] = math.nan
    maps["infinite peak"] = base.clone()
    maps["infinite peak"][5, 6] = inf
    maps["two infinite peaks"] = maps["infinite peak"].clone()
    maps["two infinite peaks"][5, 8] = inf
    maps["minus infinity around"] = torch.where(base > 0.1, base, -inf)
    maps["ties"] = zero.clone()
    maps["ties"][[2, 2, 9], [3, 11, 1]] = 1
    maps["plateau"] = zero.clone()
    maps["plateau"][4:7, 5:9] = 0.7
    maps["single pixel"] = zero.clone()
    maps["single pixel"][6, 7] = 1
    maps["last pixel"] = zero.clone()
    maps["last pixel"][-1, -1] = 1
    maps["peak in a valley"] = zero - 5
    maps["peak in a valley"][6, 7] = 0.1
    maps["denormal"] = base * 1e-40
    maps["tiny"] = base * 1e-9
    maps["huge"] = base * 2e38
    maps["over the clip range"] = base * 1e4
    return maps


ANY_VALUE = st.one_of(
    st.floats(-1, 1, width=32),
    st.sampled_from([0.0, 0.5, 1.0, 1e-40, 3e38, -3e38, math.inf, -math.inf, math.nan, 1e-10]),
)


@st.composite
def any_maps(draw: st.DrawFn) -> torch.Tensor:
    """Small maps of anything at all: ties, denormals, huge values, infinities, NaN."""
    n, k, h, w = (draw(st.integers(1, top)) for top in (2, 3, 9, 19))
    flat = draw(st.lists(ANY_VALUE, min_size=n * k * h * w, max_size=n * k * h * w))
    return torch.tensor(flat, dtype=torch.float32).reshape(n, k, h, w)
