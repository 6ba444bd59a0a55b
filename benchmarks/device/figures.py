"""What follows from the measurements of a record: the time a case is judged by, its share of a ceiling, its gains."""

from __future__ import annotations

from typing import Any

Data = dict[str, Any]
# The time that a case is judged by: the first of these that was measured. On a CPU, where other programs only ever add
# time, the fastest round counts, on a card the median.
KERNEL_TIMES = {"cold": "median", "graph": "median", "warm": "median", "clock": "best"}
NETWORK_TIMES = {kind: KERNEL_TIMES[kind] for kind in ("graph", "warm", "clock")}
YARDSTICK = "yardstick"


def judged(measured: Data, stage: str) -> tuple[float, str] | None:
    """(seconds, how they were taken): kernels cold, networks by graph where there is one; None if not measured."""
    times = KERNEL_TIMES if stage == "bench" else NETWORK_TIMES
    return next(((measured[kind][which], kind) for kind, which in times.items() if kind in measured), None)


def is_rival(peer: str) -> bool:
    """Whether a peer does the whole work and is not ours in another form."""
    return not peer.startswith(("hgfast", YARDSTICK))


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
    peers = {name: judged(measured, entry["stage"]) for name, measured in others if is_rival(name)}
    return {name: other[0] / time[0] for name, other in peers.items() if other and other[1] == time[1]}
