"""max_pool of frozen networks, on every device, against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hgfast import _native
from tests.tolerances import assert_close

SHAPES = [(2, 6, 8, 16), (1, 7, 5, 24), (3, 2, 2, 17), (1, 9, 3, 1)]  # n, h, w, c


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_max_pool(shape: tuple[int, ...], dtype: torch.dtype, second: bool, device: str) -> None:
    n, h, w, c = shape
    generator = torch.Generator().manual_seed(c)
    x = torch.randn(*shape, generator=generator).to(dtype)
    x[0, 0, 1, 0] = float("nan")
    scale, shift = torch.randn(2, c, generator=generator)
    y = F.max_pool2d(x.float().permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    lib: Any = _native.library(device)
    out = torch.empty(n, h // 2, w // 2, c, dtype=dtype, device=device)
    out2 = torch.empty_like(out) if second else None
    x, scale, shift = x.to(device), scale.to(device), shift.to(device)
    lib.max_pool(
        *(_native.ptr(x), _native.out(out), _native.ptr(scale if second else None)),
        *(_native.ptr(shift if second else None), _native.out(out2)),
        *(_native.DTYPE_CODES[dtype], n, h, w, c, _native.exec_handle(x)),
    )
    torch.testing.assert_close(out.cpu().float(), y, rtol=0, atol=0, equal_nan=True)
    if out2 is not None:
        exact = (y.double() * scale.cpu().double() + shift.cpu().double()).relu()
        same = (y.to(dtype) * scale.cpu().to(dtype) + shift.cpu().to(dtype)).relu()
        known = ~y.isnan()
        assert out2.cpu()[~known].isnan().all()
        assert_close("upsample_add_backward", out2.cpu()[known], exact[known], same[known])
