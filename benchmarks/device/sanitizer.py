"""Stage sanitizer: NVIDIA's compute-sanitizer, each of its four tools over the samples of every op."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.device import process
from benchmarks.device.context import Context, StageAbsent, StageError

TOOLS = {"memcheck": 4.0, "racecheck": 3.0, "synccheck": 1.0, "initcheck": 2.0}  # and their weights in sharing the time
OPTIONS = (
    "--kernel-name=kns=hgfast",  # part of the mangled name of every kernel of ours: torch's are left alone
    "--destroy-on-device-error=kernel",  # the ops after a bad one are still checked
    "--target-processes=application-only",
    "--print-limit=1000",
    "--launch-timeout=120",
)
TOOL_OPTIONS = {
    "memcheck": ["--report-api-errors=no"]
}  # the launchers check every call; torch probes with failing ones
MARKER = re.compile(r"^@@ (begin|end|failed) (\S+)")
# "========= Invalid __global__ read ..." begins a finding; its details are indented further
FINDING = re.compile(r"^=========\s(?!\s)(.+)")
NO_FINDING = re.compile(
    r"COMPUTE-SANITIZER|ERROR SUMMARY|RACECHECK SUMMARY|LEAK SUMMARY|Target application returned an error"
)
MAX_FINDINGS = 10  # kept of each op


def parse(output: str) -> tuple[dict[str, dict[str, Any]], str | None]:
    """({op: {status, findings}}, the op that was running when the output ended or None)."""
    results: dict[str, dict[str, Any]] = {}
    current = None
    for line in output.splitlines():
        if match := MARKER.match(line):
            current = match[2] if match[1] == "begin" else None
            entry = results.setdefault(match[2], {"status": "clean", "findings": []})
            if match[1] == "failed":
                entry.update(status="findings", findings=[*entry["findings"], "the call raised an exception"])
        elif current and (match := FINDING.match(line)) and not NO_FINDING.search(match[1]):
            results[current]["status"] = "findings"
            results[current]["findings"] = [*results[current]["findings"], match[1].strip()][:MAX_FINDINGS]
    return results, current


def run_tool(context: Context, tool: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """All ops under one tool; after a crash or hang a new process goes on with the op after the one that did it."""
    command = process.find_tool("compute-sanitizer")
    assert command is not None
    env = context.environment(PYTORCH_NO_CUDA_MEMORY_CACHING="1")  # else bounds between torch's blocks are not seen
    results: dict[str, dict[str, Any]] = {}
    rest = list(names)
    while rest and context.deadline.left > 10.0:
        program = process.python("-m", "benchmarks.device.sanitize_one", "--device", context.device, *rest)
        finished = process.run(
            [command, f"--tool={tool}", *OPTIONS, *TOOL_OPTIONS.get(tool, []), *program],
            env,
            context.deadline.left,
            context.log,
        )
        found, running = parse(finished.output)
        if not found:
            raise StageError(f"{tool} did not start: {finished.tail(4)}")
        results |= found
        if running is None:
            break
        results[running]["status"] = "timeout" if finished.status == "timeout" else "crashed"
        rest = rest[rest.index(running) + 1 :]
    return results


def sanitizer(context: Context) -> None:
    """Every tool in its share of the time.

    Raises:
        StageAbsent: there is no compute-sanitizer.
        StageError: something was found, or not every op was reached.
    """
    if process.find_tool("compute-sanitizer") is None:
        raise StageAbsent("no compute-sanitizer on PATH")
    listed = context.client.call("op_list", context.deadline.left)
    if listed.status != "ok":
        raise StageError(listed.note)
    names = sorted({entry["op"] for entry in listed.value if context.chosen(entry["op"])})
    context.client.close()
    stage_deadline, found = context.deadline, {}
    for i, tool in enumerate(TOOLS):
        context.deadline = stage_deadline.share(list(TOOLS.values())[i:])
        found[tool] = run_tool(context, tool, names)
        context.set("sanitizer", found)
    context.deadline = stage_deadline
    bad = [
        f"{tool}: {name} {r['status']}"
        for tool, by in found.items()
        for name, r in by.items()
        if r["status"] != "clean"
    ]
    missing = [
        f"{tool}: {len(names) - len(by)} of {len(names)} ops" for tool, by in found.items() if len(by) < len(names)
    ]
    context.unfinished += missing
    context.say(
        f"sanitizer: {len(names)} ops, {len(bad)} with findings" + (f", not reached: {missing}" if missing else "")
    )
    if bad:
        raise StageError("; ".join(bad))
