"""Stages bench and networks: every case against its peers, ours and the quick peers first, compiled peers after."""

from __future__ import annotations

from typing import Any

from benchmarks.device.context import Context, StageError

MEASURE_SECONDS = (0.2, 2.0)  # least and most measuring time of a case
CASE_SECONDS = {"bench": 45.0, "networks": 120.0}  # when a case counts as hung; compiling peers takes most of it


def is_slow(peer: str) -> bool:
    """Whether a peer needs long to set up, so that it waits until the others are measured."""
    return "compile" in peer or "autotune" in peer


def plan(cases: list[dict[str, Any]]) -> list[tuple[dict[str, Any], list[str]]]:
    """Steps (case, peers): first all cases with the quick peers, then each slow peer, with ours beside it."""
    quick = [(case, [peer for peer in case["peers"] if not is_slow(peer)]) for case in cases]
    slow = [(case, [case["peers"][0], peer]) for case in cases for peer in case["peers"] if is_slow(peer)]
    return quick + slow


def run_cases(context: Context, stage: str) -> None:
    """Measure the cases of a stage.

    Raises:
        StageError: a bench file cannot be imported, or a case did not come to its end.
    """
    listed = context.client.call("cases", context.deadline.left)
    if listed.status != "ok":
        raise StageError(listed.note)
    cases = [case for case in listed.value["cases"] if case["stage"] == stage and context.chosen(case["case"])]
    troubles = [f"{file}: {why}" for file, why in listed.value["errors"].items()]
    steps = plan(cases)
    for i, (case, peers) in enumerate(steps):
        if context.deadline.left < 1.0:
            context.unfinished += [f"{len(steps) - i} of {len(steps)} steps"]
            break
        seconds = min(max(context.deadline.left / (len(steps) - i) / 2, MEASURE_SECONDS[0]), MEASURE_SECONDS[1])
        timeout = context.deadline.at_most(CASE_SECONDS[stage])
        note = measure(context, case, peers, seconds, timeout)
        if note.startswith("timeout") and timeout < CASE_SECONDS[stage]:
            context.unfinished.append(case["case"])
            continue
        troubles += [f"{case['case']}: {note}"] if note else []
    context.say(f"{stage}: {len(cases)} cases, {len(troubles)} troubles")
    if troubles:
        raise StageError("; ".join(troubles)[:2000])


def entry_of(context: Context, case: dict[str, Any]) -> dict[str, Any]:
    """The case's entry in the record, made where it is missing."""
    entries = context.record.data.setdefault("bench", [])
    for entry in entries:
        if entry["case"] == case["case"]:
            return entry
    kept = ("file", "case", "stage", "bytes", "flops", "arithmetic")
    entries.append({**{key: case[key] for key in kept}, "peers": {}})
    return entries[-1]


def measure(context: Context, case: dict[str, Any], peers: list[str], seconds: float, timeout: float) -> str:
    """One step; its numbers go into the record as they come. Returns what went wrong, or ""."""
    results = entry_of(context, case)["peers"]
    settled = {peer for peer, result in results.items() if result["status"] == "ok"}

    def keep(measured: dict[str, Any]) -> None:
        results.update({peer: result for peer, result in measured.items() if peer not in settled})
        context.record.save()

    outcome = context.client.call(
        "bench", timeout, keep, file=case["file"], case=case["case"], peers=peers, seconds=seconds
    )
    if any("no CUDA graph" in result.get("note", "") for result in results.values()):
        context.client.close()  # a capture that failed leaves torch's allocator in a state of its own
    if outcome.status == "ok":
        return ""
    for peer in peers:
        results.setdefault(peer, {"status": outcome.status, "note": outcome.note[:300]})
    context.record.save()
    return f"{outcome.status} ({', '.join(peers)}): {outcome.note[:200]}"
