"""Times calls on the current stream: by events what they take the card with a cold L2 cache, and what the host."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from hgfast._times import EVENT_ERROR, RUNS, Time, median_of

COLD_BYTES = 256 << 20  # more than any L2 cache holds


class Clock:
    """Of one device, the current one."""

    def __init__(self, device: torch.device) -> None:
        """Prepare the clock, with memory that a write to leaves nothing else in the L2 cache.

        Raises:
            torch.OutOfMemoryError: there is none.
        """
        self.cold = torch.empty(COLD_BYTES, dtype=torch.uint8, device=device)

    def times(self, calls: Sequence[Callable[[], object]]) -> list[Time]:
        """Time calls that have run before, so that code is loaded and cuDNN has tried its algorithms.

        RUNS rounds of all calls: what changes meanwhile, such as the card's frequency, changes for all of them.
        """
        rounds = [[self._run(call) for call in calls] for _ in range(RUNS)]
        if calls:
            rounds[-1][-1][1].synchronize()
        found = []
        for runs in zip(*rounds, strict=True):
            card = [1000 * start.elapsed_time(end) for start, end, _ in runs]
            found.append(Time(median_of(card, EVENT_ERROR), median_of([host for *_, host in runs])))
        return found

    def _run(self, call: Callable[[], object]) -> tuple[torch.cuda.Event, torch.cuda.Event, float]:
        """Return the events around a call, and the time that it took the host."""
        self.cold.zero_()  # takes longer than the host does to launch most calls
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        begin = time.perf_counter()
        call()
        host = 1e6 * (time.perf_counter() - begin)
        end.record()
        return start, end, host
