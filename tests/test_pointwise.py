"""The small kernels between convolutions, norms and merges, against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hgfast import _native
from hgfast.nn._recorder import RELU, RELU_BACKWARD, SUM

SPECIAL = torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-40, -1e-40])


@pytest.fixture
def cpu_library() -> Any:
    return _native.library("cpu")


def _run(lib: Any, method: str, settings: tuple[Any, ...], *tensors: Tensor | None) -> None:
    sequence = lib.Sequence(len(tensors))
    getattr(sequence, method)(*settings, *(None if t is None else (i, 0) for i, t in enumerate(tensors)))
    sequence.run([0 if t is None else t.data_ptr() for t in tensors], torch.get_num_threads())


@pytest.mark.parametrize("count", [1, 7, 16, 1000, 100_003])
def test_pointwise(cpu_library: Any, count: int) -> None:
    a, b = (torch.cat([torch.randn(count), SPECIAL])[-count:].contiguous() for _ in range(2))
    b = b.roll(1)
    for kind, other, exact in (
        (SUM, b, a + b),
        (RELU, None, torch.relu(a)),
        (RELU_BACKWARD, b, torch.ops.aten.threshold_backward(a, b, 0)),
    ):
        out = torch.full((count + 1,), 5.0)
        _run(cpu_library, "pointwise", (kind, count), a, other, out)
        torch.testing.assert_close(out[:-1], exact, rtol=0, atol=0, equal_nan=True)
        assert out[-1] == 5.0


@pytest.mark.parametrize("rows, channels", [(1, 1), (3, 17), (1000, 64), (70_000, 3)])
def test_channel_sum(cpu_library: Any, rows: int, channels: int) -> None:
    x = torch.randn(rows, channels, generator=torch.Generator().manual_seed(0)) + 1
    size = cpu_library.batch_norm_sizes(_native.DTYPE_CODES[torch.float32], _native.NHWC, 1, rows, channels)[0]
    sums, workspace = torch.full((channels + 1,), 5.0), torch.empty(size)
    _run(cpu_library, "channel_sum", (rows, channels), x, sums, workspace)
    torch.testing.assert_close(sums[:-1].double(), x.double().sum(0), rtol=1e-5, atol=1e-5)
    assert sums[-1] == 5.0


@pytest.mark.parametrize("count", [2.0, 640.0])
def test_running_statistics(cpu_library: Any, count: float) -> None:
    mean, var, running_mean, running_var = torch.rand(4, 19)
    exact = 0.7 * running_mean + 0.3 * mean, 0.7 * running_var + 0.3 * var * count / (count - 1)
    _run(cpu_library, "move_running", (19, 0.3, count), mean, var, running_mean, running_var)
    torch.testing.assert_close((running_mean, running_var), exact)
