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


def network_list(device: str, emit: Emit) -> dict[str, list[dict[str, Any]]]:
    """Arguments of the jobs `layers`, `choices` and `graphs`, one call each."""
    from benchmarks.device import choice_checks
    from benchmarks.device.network_checks import BATCHES, GRAPH_CHECKS, NETWORKS

    return {
        "layers": [{"name": name, "batch": batch} for batch in BATCHES for name in NETWORKS],
        "choices": [{"name": name} for name in choice_checks.NETWORKS],
        "graphs": [{"name": name} for name in GRAPH_CHECKS],
    }


def layers(device: str, emit: Emit, **args: Any) -> dict[str, str]:
    """A network at a batch size, call by call and as a whole."""
    from benchmarks.device.network_checks import check_layers

    return check_layers(device, **args)


def choices(device: str, emit: Emit, **args: Any) -> dict[str, str]:
    """How long a network's kernels are tried and timed."""
    from benchmarks.device.choice_checks import check_choices

    return check_choices(device, **args)


def graphs(device: str, emit: Emit, **args: Any) -> dict[str, str]:
    """Something that must hold of frozen networks as CUDA graphs."""
    from benchmarks.device.network_checks import check_graph

    return check_graph(device, **args)


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job
    for job in (machine, ceilings, build_info, cases, bench, op_list, op, network_list, layers, choices, graphs)
}
