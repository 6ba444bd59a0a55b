"""What the documents promise of a card, and whether a record bears it out: one line a claim.

A claim is True, False, or None where the record has not what would decide it. tests/test_claims.py holds the claims
against docs/gpu.md's table of them, and against each passage of README and docs that speaks of a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.device.figures import gains, judged

Data = dict[str, Any]
WORDS = {True: "holds", False: "DOES NOT HOLD", None: "not run"}


@dataclass(frozen=True)
class Claim:
    """A promise in a sentence, and what a record says of it: (whether it holds, the figures behind that).

    by: the stages that decide it; said: words of each other passage that promises it, as "file: words".
    """

    text: str
    judge: Callable[[Data], tuple[bool | None, str]]
    by: str
    said: tuple[str, ...] = ()


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


def noise_of(entry: Data) -> float:
    """The largest spread of a case's times, of which a ratio may be off."""
    times = (times for measured in entry["peers"].values() for times in measured.values() if isinstance(times, dict))
    return max((found.get("spread", 0.0) for found in times), default=0.0)


def ahead(*texts: str, but_for_noise: bool = False) -> Callable[[Data], tuple[bool | None, str]]:
    """Cases whose name contains one of the texts: the fastest peer takes at least as long as hgfast, in each.

    but_for_noise: or is faster by no more than the times of the case vary.
    """

    def judge(data: Data) -> tuple[bool | None, str]:
        worst: dict[str, tuple[float, float, str]] = {}
        for entry in data.get("bench", []):
            if any(text in entry["case"] for text in texts) and (found := gains(entry)):
                peer, ratio = min(found.items(), key=lambda item: item[1])
                allowed = noise_of(entry) if but_for_noise else 0.0
                worst[entry["case"]] = ratio + allowed, ratio, peer
        if not worst:
            return None, ""
        case, (allowed, ratio, peer) = min(worst.items(), key=lambda item: item[1])
        return allowed >= 1.0, f"least {ratio:.2f}x, {case} against {peer}; {len(worst)} cases"

    return judge


def lighter(text: str) -> Callable[[Data], tuple[bool | None, str]]:
    """Cases whose name contains a text: hgfast's peak of memory is not above eager's, in each."""

    def judge(data: Data) -> tuple[bool | None, str]:
        ratios = {
            entry["case"]: entry["peers"]["eager"]["peak_mb"] / entry["peers"]["hgfast"]["peak_mb"]
            for entry in data.get("bench", [])
            if text in entry["case"] and all("peak_mb" in entry["peers"].get(peer, {}) for peer in ("hgfast", "eager"))
        }
        if not ratios:
            return None, ""
        case, ratio = min(ratios.items(), key=lambda item: item[1])
        return ratio >= 1.0, f"least {ratio:.2f}x, {case}; {len(ratios)} cases"

    return judge


def within(card: str, goals: dict[str, float]) -> Callable[[Data], tuple[bool | None, str]]:
    """Cases on a card of this name: hgfast takes less than the milliseconds of each; those that ran decide."""

    def judge(data: Data) -> tuple[bool | None, str]:
        if card not in data.get("machine", {}).get("name", ""):
            return None, ""
        found = {
            entry["case"]: 1e3 * time[0]
            for entry in data.get("bench", [])
            if entry["case"] in goals and (time := judged(entry["peers"].get("hgfast", {}), entry["stage"]))
        }
        figures = "; ".join(f"{case} {time:.3g} ms" for case, time in found.items())
        return (all(time < goals[case] for case, time in found.items()) if found else None), figures

    return judge


def two_runtimes(data: Data) -> tuple[bool | None, str]:
    """Ops were right where torch's CUDA is of another major than that of hgfast's compiler."""
    torchs = data.get("machine", {}).get("cuda")
    ours = data.get("build", {}).get("info", {}).get("cuda", {}).get("nvcc")
    if not torchs or not ours or torchs.split(".")[0] == ours.split(".")[0]:
        return None, f"both {torchs}" if torchs and ours else ""
    holds, figures = statuses("ops", "ok")(data)
    return holds, f"torch's CUDA {torchs}, hgfast's {ours}; ops {figures}"


GPU, README, NOTEBOOK = "docs/gpu.md", "README.md", "docs/notebook.md"
CLAIMS = (
    Claim(
        "Each wrapper of a PTX instruction does what the manual says, and a wait without end gives up with a message",
        counts("wrappers"),
        "wrappers",
        (f"{GPU}: A thread that has waited 20 s for an mbarrier notes block, barrier and parity",),
    ),
    Claim(
        "Each convolution and bottleneck kernel is right on awkward shapes",
        counts("kernels"),
        "kernels",
        (f"{README}: a whole pre-activation block (1x1, 3x3, 1x1, skip) in one CUDA kernel",),
    ),
    Claim(
        "Every layer of the networks is right at batch 1, 8, 33 and 64, on all images",
        statuses("layers", "ok"),
        "layers",
        (f"{GPU}: every element of every image is compared with torch's float32 result",),
    ),
    Claim(
        "Kernels are tried in half a second a plan and timed in two more, and once a card",
        statuses("choices", "ok"),
        "choices",
        (
            f"{README}: Frozen networks on CUDA time their kernels once a card and hold each against PyTorch",
            f"{GPU}: so that the next process tries nothing again",
            f"{GPU}: each call's kernels are timed once on a card, at most 2 s for a plan",
            f"{GPU}: The fastest must then pass the comparison above like any other",
            f"{NOTEBOOK}: Trying each kernel of hourglass52's plan at batch 32 against float32",
        ),
    ),
    Claim(
        "Frozen networks as CUDA graphs give the same, from several threads and on each card",
        statuses("graphs", "ok"),
        "graphs",
        (f"{GPU}: That two runtimes of different majors agree on the current device",),
    ),
    Claim(
        "Every op agrees with the float64 reference",
        statuses("ops", "ok"),
        "ops",
        (
            f"{README}: trained and run by fused CPU and CUDA kernels as drop-in PyTorch modules",
            "docs/status.md: | op |",
        ),
    ),
    Claim(
        "hgfast runs beside a torch of another major of CUDA",
        two_runtimes,
        "build, ops",
        (f"{GPU}: So torch may be of another CUDA: 12 and 13 are meant to go together",),
    ),
    Claim("All tests pass on the card", counts("tests"), "tests"),
    Claim("compute-sanitizer finds nothing", sanitized, "sanitizer"),
    Claim(
        "Convolutions and whole bottlenecks are not slower than cuDNN's, but for the noise",
        ahead("conv1x1", "conv3x3", "conv7x7", "bottleneck/", but_for_noise=True),
        "bench",
        (
            f"{GPU}: So hgfast is not slower than cuDNN by more than the noise of the measurement, call by call",
            f"{GPU}: The operator goes the fastest way.",
        ),
    ),
    *(
        Claim(
            f"Frozen networks are ahead of eager, cuDNN and torch.compile at batch {batch}",
            ahead(f"256/batch {batch}/"),
            "networks",
        )
        for batch in (1, 8, 64)
    ),
    Claim(
        "On an H100, bfloat16: hourglass52 takes less than 7.5 ms (batch 64), 0.6 ms (batch 1), hg8 12 ms (batch 64)",
        within(
            "H100",
            {
                "networks/hourglass52-256/batch 64/bfloat16": 7.5,
                "networks/hourglass52-256/batch 1/bfloat16": 0.6,
                "networks/hg8-256/batch 64/bfloat16": 12.0,
            },
        ),
        "networks",
        (
            f"{NOTEBOOK}: Goals: below 7.5 ms, and below 0.6 ms with a CUDA graph",
            f"{NOTEBOOK}: against 13.6 ms without this kernel and a goal of 12 ms",
        ),
    ),
    Claim(
        "Training steps are ahead of eager and torch.compile",
        ahead("/train/"),
        "networks",
        (f"{GPU}: hgfast's kernel has those for which it is faster by more than the noise",),
    ),
    Claim(
        "Training steps take no more memory at their peak than eager's",
        lighter("/train/"),
        "networks",
        (f"{README}: whatever their classes, train faster in less memory",),
    ),
    Claim("Merges of the levels are ahead of eager and torch.compile", ahead("upsample_add"), "bench"),
    Claim("Decoding is ahead of eager and torch.compile", ahead("decode_heatmaps"), "bench"),
)


def verdicts(data: Data) -> Iterator[tuple[str, str, str]]:
    """(claim, verdict, figures)."""
    for claim in CLAIMS:
        holds, figures = claim.judge(data)
        yield claim.text, WORDS[holds], figures
