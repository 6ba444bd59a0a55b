"""What README promises of a card, and whether a record bears it out: one line a claim.

A claim is True, False, or None where the record has not what would decide it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.device.figures import gains

Data = dict[str, Any]
WORDS = {True: "holds", False: "DOES NOT HOLD", None: "not run"}


@dataclass(frozen=True)
class Claim:
    """A promise in a sentence, and what a record says of it: (whether it holds, the figures behind that)."""

    text: str
    judge: Callable[[Data], tuple[bool | None, str]]


def counts(key: str) -> Callable[[Data], tuple[bool | None, str]]:
    """Tests of a stage: none failed, all came to their end, and some ran."""

    def judge(data: Data) -> tuple[bool | None, str]:
        if key not in data:
            return None, ""
        found = data[key]
        text = "{passed} passed, {failed} failed, {skipped} skipped".format(**found)
        if found["failed"]:
            return False, text
        whole = found["passed"] and not found["unfinished"]
        return (True if whole else None), text

    return judge


def statuses(key: str, right: str) -> Callable[[Data], tuple[bool | None, str]]:
    """A list of entries: each has the status that is right."""

    def judge(data: Data) -> tuple[bool | None, str]:
        entries = data.get(key, [])
        bad = [entry for entry in entries if entry["status"] not in (right, "absent")]
        if bad:
            return False, f"{len(bad)} of {len(entries)}: {bad[0].get('name') or bad[0].get('op')} {bad[0]['status']}"
        ran = sum(entry["status"] == right for entry in entries)
        return (True if ran else None), f"{ran} of {len(entries)}" if entries else ""

    return judge


def sanitized(data: Data) -> tuple[bool | None, str]:
    """All ops under all tools."""
    results = [result["status"] for by_op in data.get("sanitizer", {}).values() for result in by_op.values()]
    bad = sum(status != "clean" for status in results)
    return (not bad if results else None), f"{bad} of {len(results)} runs with findings" if results else ""


def ahead(text: str, least: float = 1.0) -> Callable[[Data], tuple[bool | None, str]]:
    """Cases whose name contains a text: the fastest peer takes at least so much longer than hgfast, in each."""

    def judge(data: Data) -> tuple[bool | None, str]:
        ratios = {
            entry["case"]: min(found.items(), key=lambda item: item[1])
            for entry in data.get("bench", [])
            if text in entry["case"] and (found := gains(entry))
        }
        if not ratios:
            return None, ""
        case, (peer, ratio) = min(ratios.items(), key=lambda item: item[1][1])
        return ratio >= least, f"least {ratio:.2f}x, {case} against {peer}; {len(ratios)} cases"

    return judge


CLAIMS = (
    Claim("Each wrapper of a PTX instruction does what the manual says", counts("wrappers")),
    Claim("Each convolution and bottleneck kernel is right on awkward shapes", counts("kernels")),
    Claim("Every layer of the networks is right at batch 1, 8, 33 and 64, on all images", statuses("layers", "ok")),
    Claim(
        "Frozen networks as CUDA graphs give the same, from several threads and on each card", statuses("graphs", "ok")
    ),
    Claim("Every op agrees with the float64 reference", statuses("ops", "ok")),
    Claim("All tests pass on the card", counts("tests")),
    Claim("compute-sanitizer finds nothing", sanitized),
    Claim("Frozen networks are ahead of eager, cuDNN and torch.compile at batch 1", ahead("256/batch 1/")),
    Claim("Frozen networks are ahead of eager, cuDNN and torch.compile at batch 8", ahead("256/batch 8/")),
    Claim("Frozen networks are ahead of eager, cuDNN and torch.compile at batch 64", ahead("256/batch 64/")),
    Claim("Training steps are ahead of eager and torch.compile", ahead("/train/")),
    Claim("Merges of the levels are ahead of eager and torch.compile", ahead("upsample_add")),
    Claim("Decoding is ahead of eager and torch.compile", ahead("decode_heatmaps")),
)


def verdicts(data: Data) -> Iterator[tuple[str, str, str]]:
    """(claim, verdict, figures)."""
    for claim in CLAIMS:
        holds, figures = claim.judge(data)
        yield claim.text, WORDS[holds], figures
