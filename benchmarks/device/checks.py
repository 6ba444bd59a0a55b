"""Stages ceilings, ops, layers, choices, graphs: the device's ceilings; ops and networks against the reference."""

from __future__ import annotations

from typing import Any

from benchmarks.device.context import Context, StageError

OP_SECONDS = 20.0
NETWORK_SECONDS = 60.0


def ceilings(context: Context) -> None:
    """Measure the two ceilings.

    Raises:
        StageError: they could not be measured.
    """
    outcome = context.client.call("ceilings", context.deadline.left, lambda found: context.set("ceilings", found))
    if outcome.status != "ok":
        raise StageError(outcome.note)
    context.set("ceilings", outcome.value)
    rates = {name: value for name, value in outcome.value.items() if isinstance(value, float)}
    context.say("ceilings: " + ", ".join(f"{name} {value / 1e9:,.0f} G/s" for name, value in rates.items()))


def ops(context: Context) -> None:
    """One call of every sample of every op, each answer written down at once.

    Raises:
        StageError: hgfast does not load, or an op went wrong.
    """
    listed = context.client.call("op_list", context.deadline.left)
    if listed.status != "ok":
        raise StageError(listed.note)
    wanted = [entry for entry in listed.value if context.chosen(entry["op"])]
    found: list[dict[str, Any]] = []
    context.set("ops", found)
    for entry in wanted:
        if not context.deadline.left:
            context.unfinished += [f"{len(wanted) - len(found)} op samples"]
            break
        outcome = context.client.call(
            "op", context.deadline.at_most(OP_SECONDS), op=entry["op"], sample_index=entry["sample"]
        )
        result = outcome.value if outcome.status == "ok" else {"status": outcome.status, "note": outcome.note}
        found.append({**entry, **result})
        context.record.save()
    bad = sorted({entry["op"] for entry in found if entry["status"] != "ok"})
    context.say(f"ops: {len(found) - sum(e['status'] != 'ok' for e in found)} of {len(found)} samples right")
    if bad:
        raise StageError(f"wrong or failed: {', '.join(bad)}")


def check_networks(context: Context, stage: str) -> None:
    """The jobs of stage layers, choices or graphs, each answer written down at once.

    Raises:
        StageError: hgfast does not load, or a network went wrong.
    """
    listed = context.client.call("network_list", context.deadline.left)
    if listed.status != "ok":
        raise StageError(listed.note)
    found: list[dict[str, str]] = []
    context.set(stage, found)
    wanted = listed.value[stage]
    for arguments in wanted:
        name = ", ".join(f"batch {value}" if key == "batch" else value for key, value in arguments.items())
        if context.deadline.left < 1.0:
            context.unfinished += [f"{len(wanted) - len(found)} of {len(wanted)}"]
            break
        outcome = context.client.call(stage, context.deadline.at_most(NETWORK_SECONDS), **arguments)
        result = outcome.value if outcome.status == "ok" else {"status": outcome.status, "note": outcome.note}
        found.append({"name": name, **result})
        context.record.save()
    bad = [entry["name"] for entry in found if entry["status"] not in ("ok", "absent")]
    context.say(f"{stage}: {len(found) - len(bad)} of {len(found)} right")
    if bad:
        raise StageError(f"wrong or failed: {', '.join(bad)}")
