"""How everything is measured: cases with peers, interleaved timing, bytes/s and FLOP/s.

A bench file lists its cases (`CASES`) and ends in `test_case = benchmark_test(CASES)`. The same cases serve
pytest-benchmark, `python -m benchmarks.table` (a table with ratios, from one interleaved run) and
`python -m benchmarks.device`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

Call = Callable[[], Any]
OURS = "hgfast"
SLOW = 0.05  # seconds: calls that need no repetition within a round


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        name: "<op>/<what>/<shape>"; also the group in pytest-benchmark.
        peers: names of those compared: the first, "hgfast", is ours, the second one is the reference expression.
            "yardstick: ..." does less than the whole work and shows what the memory or the arithmetic gives.
        make: make(device) -> {peer: call} for all peers. A call takes no argument, does the whole work on warm data and
            leaves its inputs so that it can be repeated; what is slow to set up waits for the first call.
        bytes: what must be read from and written to memory at least, counted by hand; 0 where it says nothing.
        flops: arithmetic operations that the direct algorithm needs; 0 where it says nothing.
        arithmetic: the matrix arithmetic that it may use at best: "float32", "tf32", "float16" or "bfloat16". On a GPU
            the FLOP/s are held against that of a large matrix product of this kind.
        threads: CPU threads; None for torch's default.
        devices: where the case makes sense.
        settle: seconds of rest before each round. Idle threads of some runtimes spin for a while after a call (ONNX
            Runtime's for 31 ms) and would take a core from the peer that comes next.
    """

    name: str
    peers: Sequence[str]
    make: Callable[[str], dict[str, Call]]
    bytes: float = 0
    flops: float = 0
    arithmetic: str = "float32"
    threads: int | None = None
    devices: Sequence[str] = ("cpu", "cuda")
    settle: float = 0


@dataclass
class Timing:
    """Seconds per call over all rounds."""

    seconds: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Fastest round."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Median round."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range over median."""
        if len(self.seconds) < 4:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / self.median


@contextmanager
def cpu_threads(threads: int | None) -> Iterator[None]:
    """torch's thread count for the duration of a case."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronize(device: str) -> None:
    """Wait for a CUDA device; nothing on the CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed_round(call: Call, device: str, calls: int) -> float:
    """Seconds per call of `calls` calls in a row, by CUDA events or the clock."""
    if device.startswith("cuda"):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / calls
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def calls_per_round(call: Call, device: str, seconds: float = 2e-3) -> int:
    """So many that a round is long against the clock's and the launch's own time; also warms up."""
    call()
    synchronize(device)
    if timed_round(call, device, 1) > SLOW:
        return 1
    call()
    synchronize(device)
    return max(1, min(1000, int(seconds / max(timed_round(call, device, 1), 1e-7))))


def time_interleaved(
    peers: dict[str, Call], device: str, budget: float = 1.0, min_rounds: int = 5, settle: float = 0
) -> dict[str, Timing]:
    """Time all peers in turn, round after round, so that a slow moment of the machine meets them all alike."""
    calls = {name: calls_per_round(call, device) for name, call in peers.items()}
    timings = {name: Timing() for name in peers}
    end, rounds = time.perf_counter() + budget, 0
    while rounds < min_rounds or time.perf_counter() < end:
        for name, call in peers.items():
            time.sleep(settle)
            timings[name].seconds.append(timed_round(call, device, calls[name]))
        rounds += 1
    return timings


def rates(case: Case, seconds: float) -> dict[str, float]:
    """GB/s and GFLOP/s of a case at this time per call, where it counts bytes or FLOPs."""
    counted = {"GB/s": case.bytes, "GFLOP/s": case.flops}
    return {unit: amount / seconds / 1e9 for unit, amount in counted.items() if amount}


def bench_devices() -> list[str]:
    """The CPU, and the GPU where there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def benchmark_test(cases: Sequence[Case], rounds: int = 7) -> Callable[..., None]:
    """The pytest-benchmark test of a bench file: one for each case, device and peer; a case's peers share a group."""
    variants = [
        pytest.param(case, device, peer, id=f"{case.name}-{device}-{peer}")
        for case in cases
        for device in bench_devices()
        if device in case.devices
        for peer in case.peers
    ]

    @pytest.mark.parametrize(("case", "device", "peer"), variants)
    def test_case(case: Case, device: str, peer: str, benchmark: Any) -> None:
        with cpu_threads(case.threads):
            call = case.make(device)[peer]

            def run() -> None:
                call()
                synchronize(device)

            benchmark.group, benchmark.name = f"{case.name} {device}", peer
            calls = calls_per_round(call, device) if benchmark.enabled else 1  # --benchmark-disable: once, untimed
            benchmark.pedantic(run, rounds=rounds, iterations=calls, warmup_rounds=1)
        if benchmark.enabled:
            stats = benchmark.stats.stats
            benchmark.extra_info.update(rates(case, stats.min), device=device, threads=case.threads)

    return test_case
