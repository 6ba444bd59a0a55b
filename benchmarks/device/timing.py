"""How a peer is timed on a card: calls in a row, replays of a CUDA graph, and calls after a flush of the L2 cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.harness import Call, Timing, calls_per_round, timed_round

FLUSH_BYTES = 2**28  # several times the largest L2
COLD_LIMIT = 5e-3  # a call that takes longer moves more than the cache holds


def summary(timing: Timing) -> dict[str, Any]:
    """A timing as it goes into the record."""
    return {
        "median": timing.median,
        "best": timing.best,
        "spread": round(timing.spread, 4),
        "rounds": len(timing.seconds),
    }


def captured(call: Call) -> torch.cuda.CUDAGraph:
    """A CUDA graph of one call, warmed up on a side stream as torch wants it.

    Raises:
        RuntimeError: the call cannot be captured (it waits for the device, or is itself a graph).
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    graph.replay()
    torch.cuda.synchronize()
    return graph


def time_alone(call: Call, seconds: float) -> Timing:
    """Rounds of calls in a row, for at most `seconds`."""
    calls, timing = calls_per_round(call, "cuda"), Timing()
    end = time.perf_counter() + seconds
    while len(timing.seconds) < 5 or time.perf_counter() < end:
        timing.seconds.append(timed_round(call, "cuda", calls))
    return timing


class ColdTimer:
    """Times single calls, each after a read of a buffer that replaces what the L2 cache holds."""

    def __init__(self) -> None:
        self._buffer = torch.zeros(FLUSH_BYTES // 4, dtype=torch.float32, device="cuda")

    def time(self, call: Call, seconds: float, max_rounds: int = 100) -> Timing:
        """Up to `max_rounds` calls. The flush (0.1 ms) also hides the time that the host takes to launch the call.

        The flush only reads: it leaves no written lines behind that the timed call would have to wait for.
        """
        pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        end = time.perf_counter() + seconds
        while len(pairs) < 5 or (len(pairs) < max_rounds and time.perf_counter() < end):
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._buffer.sum()
            start.record()
            call()
            stop.record()
            pairs.append((start, stop))
            if len(pairs) % 10 == 0:
                torch.cuda.synchronize()
        torch.cuda.synchronize()
        return Timing([start.elapsed_time(stop) / 1e3 for start, stop in pairs])


def peak_memory(call: Call) -> dict[str, float]:
    """MB that torch holds before a call, and at most during it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    megabytes = {"memory_mb": before, "peak_mb": torch.cuda.max_memory_allocated()}
    return {name: round(value / 2**20, 1) for name, value in megabytes.items()}


def graph_and_cold(call: Call, warm: float, seconds: float, cold: ColdTimer, capture: bool = True) -> dict[str, Any]:
    """The graph's and the cold times of a call whose warm time is known; `note` says why a graph is missing."""
    result: dict[str, Any] = {}
    timed: Callable[[], Any] = call
    if capture:
        try:
            timed = captured(call).replay
            result["graph"] = summary(time_alone(timed, seconds / 2))
        except Exception as error:  # of whatever kind: the other times are still good
            torch.cuda.synchronize()
            result["note"] = f"no CUDA graph: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"
    if warm < COLD_LIMIT:
        result["cold"] = summary(cold.time(timed, seconds / 2))
        result["cold_graph"] = "graph" in result
    return result
