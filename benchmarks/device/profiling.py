"""Stage profile: Nsight Compute on the kernels that are furthest from the device's ceilings."""

from __future__ import annotations

import csv
from typing import Any

from benchmarks.device import process
from benchmarks.device.context import Context, StageAbsent, StageError
from benchmarks.device.figures import ceiling_share

SECTIONS = ("SpeedOfLight", "MemoryWorkloadAnalysis", "LaunchStats", "Occupancy")
METRICS = (
    "Duration",
    "SM Frequency",
    "Compute (SM) Throughput",
    "Memory Throughput",
    "DRAM Throughput",
    "L1/TEX Hit Rate",
    "L2 Hit Rate",
    "Registers Per Thread",
    "Dynamic Shared Memory Per Block",
    "Static Shared Memory Per Block",
    "Theoretical Occupancy",
    "Achieved Occupancy",
)
CASES, CASE_SECONDS = 6, 60.0


def worst_cases(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The kernel cases of ours with the smallest share of their ceiling, the worst first."""
    shares = [(ceiling_share(data, entry, entry_peer(entry)), entry) for entry in data.get("bench", [])]
    known = [(share, entry) for share, entry in shares if share is not None and entry["stage"] == "bench"]
    return [entry for _, entry in sorted(known, key=lambda pair: pair[0])[:CASES]]


def entry_peer(entry: dict[str, Any]) -> str:
    """The peer of an entry that is ours: the first."""
    return next(iter(entry["peers"]), "")


def parse(output: str) -> list[dict[str, Any]]:
    """The record's metrics, one entry for each launch, from `ncu --csv --page details`."""
    lines = output.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith('"ID"')]
    if not starts:
        return []
    launches: dict[str, dict[str, Any]] = {}
    for row in csv.DictReader(line for line in lines[starts[0] :] if line.startswith('"')):
        if row["Metric Name"] in METRICS:
            entry = launches.setdefault(row["ID"], {"kernel": row["Kernel Name"], "metrics": {}})
            entry["metrics"][row["Metric Name"]] = f"{row['Metric Value']} {row['Metric Unit']}".strip()
    return list(launches.values())


def profile(context: Context) -> None:
    """Profile them.

    Raises:
        StageAbsent: no ncu, or no benchmark to choose by.
        StageError: ncu failed.
    """
    command = process.find_tool("ncu")
    if command is None:
        raise StageAbsent("no ncu on PATH")
    cases = worst_cases(context.record.data)
    if not cases:
        raise StageAbsent("no measured kernel with a known share of a ceiling in this run")
    context.client.close()
    found: list[dict[str, Any]] = []
    troubles = []
    options = ["--clock-control", "none", "--csv", "--page", "details", "--kernel-name-base", "mangled"]
    options += ["--kernel-name", "regex:hgfast", "--launch-count", "8"]
    options += [part for section in SECTIONS for part in ("--section", section)]
    for entry in cases:
        if context.deadline.left < 10.0:
            context.unfinished += [f"{len(cases)} cases, profiled {len({e['case'] for e in found})}"]
            break
        program = process.python("-m", "benchmarks.device.profile_one", entry["file"], entry["case"], context.device)
        finished = process.run(
            [command, *options, *program], context.environment(), context.deadline.at_most(CASE_SECONDS), context.log
        )
        launches = parse(finished.output)
        found += [{"case": entry["case"], **launch} for launch in launches]
        troubles += [] if launches else [f"{entry['case']}: {finished.status}: {finished.tail(3)}"]
        context.set("profile", found)
    context.say(f"profile: {len(found)} launches of {len(cases)} cases")
    if troubles:
        raise StageError("; ".join(troubles))
