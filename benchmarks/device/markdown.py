"""A record as Markdown, and the short table for the terminal."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.device.figures import TIMES, ceiling_share, judged
from benchmarks.device.verdicts import verdicts

Data = dict[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in line) + " |" for line in lines]


def seconds(value: float) -> str:
    """1.234 ms, 56.7 us."""
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"


def bench_rows(data: Data) -> Iterator[list[str]]:
    """One row for each case and peer."""
    for entry in data.get("bench", []):
        first: Data = next(iter(entry["peers"].values()), {})
        ours = judged(first, entry["stage"])
        for peer, measured in entry["peers"].items():
            time = judged(measured, entry["stage"])
            if time is None:
                yield [entry["case"], peer, measured["status"], "", "", "", "", measured.get("note", "")]
                continue
            share = ceiling_share(data, entry, peer)
            kinds = ("clock" if "clock" in measured else "warm", "graph", "cold")
            times = [seconds(measured[kind][TIMES[kind]]) if kind in measured else "" for kind in kinds]
            ratio = f"{time[0] / ours[0]:.2f}x" if ours and ours[1] == time[1] else ""
            yield [entry["case"], peer, *times, ratio, f"{share:.0%}" if share else "", measured.get("note", "")]


def machine_lines(data: Data) -> Iterator[str]:
    """The device, the versions, the ceilings."""
    for key, value in data.get("machine", {}).items():
        yield f"- {key}: {value}"
    for key, value in data.get("ceilings", {}).items():
        unit = "GB/s" if key == "copy" else "GFLOP/s"
        yield f"- ceiling, {key}: " + (f"{value / 1e9:,.0f} {unit}" if isinstance(value, float) else str(value))


def stage_lines(data: Data) -> list[str]:
    """How each stage ended."""
    rows = [[name, s["status"], f"{s['seconds']:.0f} s", s["note"]] for name, s in data["stages"].items()]
    return table(["stage", "status", "took", "note"], rows)


def op_lines(data: Data) -> list[str]:
    """Errors of all ops against the float64 reference."""
    rows = [
        [o["op"], o["sample"], o["dtype"], o.get("way", ""), o["status"]]
        + [f"{o[key]:.2g}" if key in o else "" for key in ("error", "bound")]
        + [o["note"]]
        for o in data["ops"]
    ]
    return table(["op", "sample", "dtype", "way", "status", "error", "bound", "note"], rows)


def checked_lines(data: Data, key: str) -> list[str]:
    """Networks that were checked as a whole, or layer by layer."""
    return table(["name", "status", "note"], [[e["name"], e["status"], e["note"]] for e in data[key]])


def test_lines(data: Data, key: str = "tests") -> list[str]:
    """Counts, failures and the reasons of skips."""
    tests = data[key]
    lines = ["{passed} passed, {failed} failed, {skipped} skipped".format(**tests), ""]
    lines += [f"- FAILED {failure['test']}: {failure['message']}" for failure in tests["failures"]]
    lines += [f"- not finished: {name}" for name in tests["unfinished"]]
    return lines + [f"- {count} skipped: {reason}" for reason, count in tests["skips"].items()]


def sanitizer_lines(data: Data) -> list[str]:
    """Each op under each tool; findings below."""
    tools = list(data["sanitizer"])
    names = sorted({name for by_op in data["sanitizer"].values() for name in by_op})
    rows = [
        [name, *(data["sanitizer"][tool].get(name, {}).get("status", "not run") for tool in tools)] for name in names
    ]
    lines = table(["op", *tools], rows) + [""]
    for tool, by_op in data["sanitizer"].items():
        lines += [f"- {tool}, {name}: {text}" for name, result in by_op.items() for text in result["findings"]]
    return lines


def profile_lines(data: Data) -> list[str]:
    """Metrics of each launch."""
    rows = [
        [e["case"], e["kernel"][:80], "; ".join(f"{k} {v}" for k, v in e["metrics"].items())] for e in data["profile"]
    ]
    return table(["case", "kernel", "metrics"], rows)


def bench_lines(data: Data) -> list[str]:
    """All measurements."""
    head = ["case", "peer", "in a row", "CUDA graph", "cold L2", "time / hgfast's", "of the ceiling", "note"]
    return table(head, list(bench_rows(data)))


SECTIONS = (
    ("wrappers", "Wrappers of PTX instructions", functools.partial(test_lines, key="wrappers")),
    ("kernels", "Convolution and bottleneck kernels", functools.partial(test_lines, key="kernels")),
    ("layers", "Layers of the networks", functools.partial(checked_lines, key="layers")),
    ("choices", "Kernels tried and timed before their first use", functools.partial(checked_lines, key="choices")),
    ("graphs", "Frozen networks as CUDA graphs", functools.partial(checked_lines, key="graphs")),
    ("ops", "Ops against the float64 reference", op_lines),
    ("tests", "Tests on the device", test_lines),
    ("bench", "Benchmarks (medians on a card, fastest round on a CPU)", bench_lines),
    ("sanitizer", "compute-sanitizer", sanitizer_lines),
    ("profile", "Profile", profile_lines),
)


def render(data: Data) -> str:
    """The whole record."""
    name = data.get("machine", {}).get("name", "unknown device")
    state = "complete" if data["complete"] else "cut short, or still running"
    changed = ", with changes" if data["modified"] else ""
    lines = [
        f"# {name}, {data['started']}",
        "",
        f"{state}; commit {data['commit']}{changed}, sources {data['sources']}",
    ]
    lines += ["", *machine_lines(data), "", *stage_lines(data)]
    lines += ["", "## Claims", "", *table(["claim", "verdict", "figures"], list(verdicts(data)))]
    for key, title, section in SECTIONS:
        if key in data:
            lines += ["", f"## {title}", "", *section(data)]
    return "\n".join(lines) + "\n"


def short(data: Data) -> str:
    """What matters, for the terminal: stages, and each case of ours with its share of the ceiling and its peers."""
    lines = stage_lines(data)
    for entry in data.get("bench", []):
        peer = next(iter(entry["peers"]), "")
        time = judged(entry["peers"].get(peer, {}), entry["stage"])
        if time is None:
            continue
        share = ceiling_share(data, entry, peer)
        others = {name: judged(m, entry["stage"]) for name, m in entry["peers"].items() if name != peer}
        ratios = ", ".join(f"{name} {t[0] / time[0]:.2f}x" for name, t in others.items() if t and t[1] == time[1])
        lines.append(f"{entry['case']}: {seconds(time[0])} {f'({share:.0%})' if share else ''}  {ratios}")
    return "\n".join(lines)
