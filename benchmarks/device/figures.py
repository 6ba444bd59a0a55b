"""What follows from the measurements of a record: the time a case is judged by, its share of a ceiling, its gains."""

from __future__ import annotations

from typing import Any

Data = dict[str, Any]
# The time that a kernel is judged by: the first of these that was measured. On a card the median counts; on a CPU the
# fastest round, for other programs only add time.
TIMES = {"cold": "median", "graph": "median", "warm": "median", "clock": "best"}
YARDSTICK = "yardstick"


def judged(measured: Data, stage: str) -> tuple[float, str] | None:
    """(seconds, how they were taken); None if not measured.

    A kernel's time is the cold one. A network's is its best, with or without a CUDA graph: so its users would run it.
    """
    found = {kind: measured[kind][which] for kind, which in TIMES.items() if kind in measured}
    if stage != "bench" and found:
        return min(found.values()), "best"
    return next(((value, kind) for kind, value in found.items()), None)


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
