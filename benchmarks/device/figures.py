"""What follows from the measurements of a record: the time a case is judged by, its share of a ceiling, its gains."""

from __future__ import annotations

from typing import Any

Data = dict[str, Any]
BEST_FIRST = ("cold", "graph", "warm")  # the time that a kernel is judged by: the first that was measured


def judged(measured: Data, stage: str) -> tuple[float, str] | None:
    """(median seconds, how it was taken): kernels cold, networks by graph where there is one; None if not measured."""
    order = BEST_FIRST if stage == "bench" else BEST_FIRST[1:]
    return next(((measured[kind]["median"], kind) for kind in order if kind in measured), None)


def ceiling_share(data: Data, entry: Data, peer: str) -> float | None:
    """The time that the nearer ceiling asks for over the time taken; None without counts, ceilings or a time."""
    time = judged(entry["peers"].get(peer, {}), entry["stage"])
    ceilings = data.get("ceilings", {})
    needed = [
        amount / ceilings[ceiling]
        for amount, ceiling in ((entry["bytes"], "copy"), (entry["flops"], entry["arithmetic"]))
        if amount and ceiling in ceilings
    ]
    return max(needed) / time[0] if time and needed else None


def gains(entry: Data) -> dict[str, float]:
    """Peer's time over ours, for every peer measured the same way."""
    (_, ours), *others = entry["peers"].items()
    time = judged(ours, entry["stage"])
    if time is None:
        return {}
    peers = {name: judged(measured, entry["stage"]) for name, measured in others if not name.startswith("hgfast")}
    return {name: other[0] / time[0] for name, other in peers.items() if other and other[1] == time[1]}
