"""What the worker process can be asked to do: each job is job(device, emit, **args) -> value for the record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.device.ceilings import measure as measure_ceilings
from benchmarks.device.machine import describe
from benchmarks.device.measure import list_cases, measure_case

Emit = Callable[[Any], None]


def machine(device: str, emit: Emit) -> dict[str, Any]:
    """The machine."""
    return describe(device)


def ceilings(device: str, emit: Emit) -> dict[str, Any]:
    """The two ceilings."""
    return measure_ceilings(device, emit)


def build_info(device: str, emit: Emit) -> dict[str, Any]:
    """hgfast.build_info() of the hgfast in use, and where that is."""
    import hgfast

    return {"info": hgfast.build_info(), "location": str(hgfast.__file__)}


def cases(device: str, emit: Emit) -> dict[str, Any]:
    """Benchmark cases of this device."""
    return list_cases(device)


def bench(device: str, emit: Emit, **args: Any) -> None:
    """Time the peers of one case."""
    measure_case(device, emit, **args)


def op_list(device: str, emit: Emit) -> list[dict[str, Any]]:
    """Sample calls of every op."""
    from tests.sample_checks import list_samples

    return list_samples()


def op(device: str, emit: Emit, **args: Any) -> dict[str, Any]:
    """One sample call of an op against the float64 reference."""
    from tests.sample_checks import check_sample

    return check_sample(device, **args)


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job for job in (machine, ceilings, build_info, cases, bench, op_list, op)
}
