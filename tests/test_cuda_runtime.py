"""What only a GPU can show: accuracy of each op, CUDA graphs, streams, devices, exhausted memory, repeated runs."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

from hgfast.ops import _registry, upsample_add
from hgfast.ops._registry import OPS
from tests.op_samples import SAMPLES
from tests.sample_checks import Args, call_op, check_sample, dtype_of, moved, sample, tensors_in

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CALLS = [
    pytest.param(name, index, id=f"{name}-{index}-{dtype_of(args)}")
    for name in sorted(SAMPLES)
    for index, args in enumerate(SAMPLES[name]("cpu"))
]
if not torch.cuda.is_available():
    CALLS = [pytest.param("any op", 0, id="every-op")]  # skipped, once for each test
every_sample = pytest.mark.parametrize(("name", "index"), CALLS)
REPEATS = 1000


def by_kernel(name: str, index: int) -> Args:
    """The sample on the GPU; the test is skipped where the op has no kernel for it."""
    args = moved(sample(name, index), "cuda")
    reason = OPS[name].fallback_reason("cuda", args)
    if reason is not None:
        pytest.skip(f"no kernel: {reason}")
    return args


def refill(buffers: Args, values: Args) -> None:
    """Copy values into the tensors of buffers."""
    for buffer, value in zip(tensors_in(buffers), tensors_in(values), strict=True):
        buffer.copy_(value)


def assert_equal(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    """Bit for bit, NaN equal to NaN."""
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@needs_gpu
@every_sample
def test_error_against_float64_on_the_cpu(name: str, index: int) -> None:
    found = check_sample("cuda", name, index)
    assert found["status"] == "ok", f"relative error {found['error']:.3g} > {found['bound']:.3g} ({found['way']})"


@needs_gpu
@every_sample
def test_captured_in_a_cuda_graph(name: str, index: int) -> None:
    args = by_kernel(name, index)
    expected = call_op(name, moved(args, "cuda"))
    static = moved(args, "cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call_op(name, static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call_op(name, static)
    for _ in range(3):
        for out in captured:
            out.fill_(7)
        refill(static, args)
        graph.replay()
        assert_equal(captured, expected)


@needs_gpu
@every_sample
def test_never_waits_for_the_device(name: str, index: int) -> None:
    args = by_kernel(name, index)
    call_op(name, moved(args, "cuda"))  # what is done once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        call_op(name, args)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@every_sample
def test_runs_in_the_current_stream(name: str, index: int) -> None:
    args = by_kernel(name, index)
    expected = call_op(name, moved(args, "cuda"))
    buffers = moved(args, "cuda")
    for tensor in tensors_in(buffers):
        tensor.zero_()
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(20_000_000)  # about 10 ms: a kernel in another stream would see zeros
        refill(buffers, args)
        found = call_op(name, buffers)
    side.synchronize()
    assert_equal(found, expected)


@needs_gpu
@every_sample
def test_two_streams_do_not_disturb_each_other(name: str, index: int) -> None:
    args = by_kernel(name, index)
    expected = call_op(name, moved(args, "cuda"))
    copies = [[moved(args, "cuda") for _ in range(20)] for _ in range(2)]
    streams = [torch.cuda.Stream() for _ in copies]
    torch.cuda.synchronize()
    found: list[list[torch.Tensor]] = []
    for pair in zip(*copies, strict=True):
        for stream, own in zip(streams, pair, strict=True):
            with torch.cuda.stream(stream):
                found.append(call_op(name, own))
    torch.cuda.synchronize()
    for outs in found:
        assert_equal(outs, expected)


@needs_gpu
@every_sample
def test_a_thousand_runs_are_bit_identical(name: str, index: int) -> None:
    args = by_kernel(name, index)
    first = call_op(name, moved(args, "cuda"))
    different = torch.zeros((), dtype=torch.int64, device="cuda")
    for _ in range(REPEATS):
        for one, other in zip(call_op(name, moved(args, "cuda")), first, strict=True):
            different += ((one != other) & ((one == one) | (other == other))).sum()
    assert different.item() == 0


@needs_gpu
def test_exhausted_memory_leaves_no_damage() -> None:
    skip = torch.randn(8, 256, 64, 64, device="cuda").contiguous(memory_format=torch.channels_last)
    low = torch.randn(8, 256, 32, 32, device="cuda").contiguous(memory_format=torch.channels_last)
    expected = upsample_add(skip, low)
    pristine = skip.clone(), low.clone()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            kept = [upsample_add(skip, low) for _ in range(64)]
            del kept
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert_equal([skip, low], list(pristine))
    assert_equal([upsample_add(skip, low)], [expected])


@needs_gpu
def test_runs_on_the_device_of_its_tensors() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    for name, index in (param.values for param in CALLS):
        args = sample(name, index)
        expected = call_op(name, moved(args, "cuda:0"))
        found = call_op(name, moved(args, "cuda:1"))
        assert torch.cuda.current_device() == 0
        assert all(out.device == torch.device("cuda:1") for out in found)
        assert_equal([out.cpu() for out in found], [out.cpu() for out in expected])


def test_the_device_guard_is_set_for_another_device_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one check of the guard that needs no second GPU: a CPU tensor says it is on device -1."""
    guarded: list[int] = []

    @contextlib.contextmanager
    def guard(index: int) -> Any:
        guarded.append(index)
        yield

    monkeypatch.setattr(torch.cuda, "device", guard)
    op = _registry.Op(
        "probe", lambda lib, x: "kernel", lambda x: "reference", lambda x: "no kernel", lambda x: None, "probe"
    )
    for current, expected in ((-1, []), (0, [-1])):
        monkeypatch.setattr(torch.cuda, "current_device", lambda current=current: current)
        assert _registry._cuda_impl(op)(torch.zeros(1)) == "reference"
        assert guarded == expected
