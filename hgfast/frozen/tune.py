"""Which kernel is the fastest for a call, by its time on this card instead of the cost model's estimate.

Before a plan is made on CUDA, for each distinct call that the card's table has no times of: the kernels that are
expected best, and torch.conv2d (cuDNN's best algorithm) with hgfast's pointwise kernels, run in a plan's buffers, in
turn, each time with a cold L2 cache; whole bottlenecks too, to be held against their three convolutions. The times and
their noise (hgfast._times) stay in the table. SECONDS bound what a plan takes; what is left then is timed when a plan
next needs it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch

from hgfast import _switches
from hgfast._clock import Clock
from hgfast._kernel_table import as_fields
from hgfast.frozen.choices import Choices, Needs, label
from hgfast.frozen.failures import report, wait
from hgfast.frozen.graph import BottleneckCall, Call, PlainCall
from hgfast.frozen.torch_step import WITH_POINTWISE
from hgfast.frozen.verify import Noise, Probe, Tried, distinct_calls

log = logging.getLogger("hgfast")
SECONDS = 2.0
KERNELS = 6  # of hgfast's own, for each call


def tune(choices: Choices, make: Callable[[Choices], Tried]) -> None:
    """Time what the calls of a plan that is made so could run by; the table of `choices` gets the times."""
    assert choices.table is not None
    deadline, clock = time.monotonic() + SECONDS, None
    try:
        for choices.blocks in (False, True):
            plan = make(choices)
            if clock is None:
                wait(plan.device)
                clock = Clock(plan.device)
            noise = Noise(plan.maker.memory, plan.weights)
            for call in distinct_calls(plan):
                if isinstance(call, BottleneckCall) == choices.blocks and not isinstance(call, PlainCall):
                    _time_call(Probe(plan, call, noise), clock, deadline)
    except torch.OutOfMemoryError as error:
        log.warning("kernels are chosen without their times, for lack of memory: %s", error)
    finally:
        choices.blocks = None
        choices.table.save()


def is_untimed(plan: Tried) -> bool:
    """Whether the plan has a call that was not timed."""
    calls = [call for call in distinct_calls(plan) if not isinstance(call, PlainCall)]
    return any(not _is_timed(plan.choices, needs, call) for call in calls for needs in _to_time(plan.choices, call)[:1])


def _to_time(choices: Choices, call: Call) -> list[Needs]:
    """List the kernels of a call, and torch."""
    name = choices.names[call.output]
    right = [needs for needs in choices.kernels[name] if choices.finding(needs, name).right is not False]
    return [*right[:KERNELS], *(needs for needs in right[KERNELS:] if needs == WITH_POINTWISE)]


def _is_timed(choices: Choices, needs: Needs, call: Call) -> bool:
    assert choices.table is not None
    name = choices.names[call.output]
    if _switches.tune == "force":
        return choices.table.was_timed_now(label(needs), name)
    return choices.finding(needs, name).time is not None


def _time_call(probe: Probe, clock: Clock, deadline: float) -> None:
    """Note the times of the kernels of a call that have none."""
    choices, name = probe.plan.choices, probe.plan.choices.names[probe.call.output]
    assert choices.table is not None
    runs: dict[Needs, Callable[[], None]] = {}
    for needs in _to_time(choices, probe.call):
        if _is_timed(choices, needs, probe.call) or time.monotonic() > deadline:
            continue
        if (run := _first_run(probe, needs)) is not None:
            runs[needs] = run
    for needs, found in zip(runs, clock.times(list(runs.values())), strict=True):
        choices.table.note(label(needs), name, **as_fields(found))


def _first_run(probe: Probe, needs: Needs) -> Callable[[], None] | None:
    """Return a kernel's call that has run once; None where it fails, which is told.

    Raises:
        torch.OutOfMemoryError: there is not enough memory.
    """
    choices, name, device = probe.plan.choices, probe.plan.choices.names[probe.call.output], probe.plan.device
    try:
        run = probe.ready(needs)
        run()
        wait(device)
        return run
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        choices.turn_away(needs, name, why)
        report(choices, needs, name, why, device)
        wait(device)
        return None


def tunes(device: torch.device) -> bool:
    """Whether times count: on CUDA, unless HGFAST_TUNE=0, or who asks for the same results each time."""
    same = torch.backends.cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    return _switches.tune != "0" and device.type == "cuda" and not same
