"""Writes the speed and status tables of docs/status.md and the plots from benchmarks/results.

    python -m benchmarks.report [--check]

For each device the newest record counts; a stage that its run left out comes from the newest older one of that device
that has it. Tables go between the HTML comments `<!-- speed -->`, `<!-- /speed -->` and `<!-- status -->`,
`<!-- /status -->`; plots go beside the records. Where no record of a GPU exists the tables say so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.device.figures import ceiling_share, gains, judged
from benchmarks.device.markdown import seconds, table
from benchmarks.device.process import ROOT
from benchmarks.device.record import RESULTS, SCHEMA

PAGE = ROOT / "docs" / "status.md"
NO_GPU = "not yet run on a GPU"
CARRIED = (
    "ceilings",
    "build",
    "wrappers",
    "kernels",
    "layers",
    "graphs",
    "ops",
    "tests",
    "bench",
    "sanitizer",
    "profile",
)
Data = dict[str, Any]


def records(folder: Path = RESULTS) -> list[Data]:
    """One combined record for each device: cards first, then by name.

    Raises:
        ValueError: a file of another schema.
    """
    found = [json.loads(path.read_text()) | {"file": path.name} for path in sorted(folder.glob("*.json"))]
    for data in found:
        if data["schema"] != SCHEMA:
            raise ValueError(f"{data['file']}: schema must be {SCHEMA}, got {data['schema']}")
    devices: dict[str, list[Data]] = {}
    for data in sorted(found, key=lambda data: data["started"], reverse=True):
        devices.setdefault(data["machine"]["name"], []).append(data)
    return sorted(map(combined, devices.values()), key=lambda d: (d["machine"]["kind"] != "cuda", d["machine"]["name"]))


def combined(newest_first: Sequence[Data]) -> Data:
    """The newest record, completed with the parts that only older ones have."""
    parts = {key: data[key] for data in reversed(newest_first) for key in CARRIED if key in data}
    return newest_first[0] | parts


def headline(data: Data) -> list[Data]:
    """The cases for the page: all networks, and of each op (the name up to the first slash) the first."""
    first: dict[str, Data] = {}
    for entry in data.get("bench", []):
        name = entry["case"] if entry["stage"] == "networks" else entry["case"].split("/")[0]
        first.setdefault(name, entry)
    return list(first.values())


def speed_row(data: Data, entry: Data) -> list[str] | None:
    """A case's row, or None where ours was not measured."""
    ours, *others = entry["peers"]
    time = judged(entry["peers"][ours], entry["stage"])
    if time is None:
        return None
    reference = judged(entry["peers"][others[0]], entry["stage"]) if others else None
    rivals = gains(entry)
    best = min(rivals, key=lambda name: rivals[name], default=None)
    share = ceiling_share(data, entry, ours)
    return [
        f"`{entry['case']}`",
        seconds(time[0]),
        f"{reference[0] / time[0]:.2f}x" if reference else "",
        f"{rivals[best]:.2f}x ({best})" if best else "",
        f"{share:.0%}" if share and data["machine"]["kind"] == "cuda" else "",
    ]


def title(data: Data) -> str:
    """Device, versions, date, commit, file."""
    machine = data["machine"]
    cores = f", {machine['threads']} threads ({machine['isa']})" if machine["kind"] == "cpu" else ""
    commit = f", commit {data['commit'][:10]}" if data["commit"] else ""
    where = f"[record](../benchmarks/results/{Path(data['file']).with_suffix('.md')})"
    return f"**{machine['name']}**{cores}, torch {machine['torch']}, {data['started'][:10]}{commit} ({where})"


def speed_text(devices: Sequence[Data]) -> str:
    """The speed section."""
    lines = [] if any(d["machine"]["kind"] == "cuda" for d in devices) else [f"CUDA kernels: {NO_GPU}.", ""]
    head = ["case", "hgfast", "eager / hgfast", "fastest peer / hgfast", "of the card's ceiling"]
    for data in devices:
        rows = [row for entry in headline(data) if (row := speed_row(data, entry))]
        width = 5 if data["machine"]["kind"] == "cuda" else 4
        if rows:
            lines += [title(data), "", *table(head[:width], [row[:width] for row in rows]), ""]
        if any(map(gains, headline(data))):
            plot = f"../benchmarks/results/{Path(data['file']).stem}-speedup.png"
            lines += [f"![How much faster than each peer]({plot})", ""]
    return "\n".join(lines).strip()


def op_state(entries: Iterable[Data]) -> str:
    """One op's samples in a few words."""
    found = list(entries)
    bad = [entry for entry in found if entry["status"] != "ok"]
    if bad:
        return f"{bad[0]['status'].upper()} ({len(bad)} of {len(found)} samples)"
    ways = {entry["way"] for entry in found}
    worst = max((entry["error"] for entry in found), default=0.0)
    return ("right" if ways == {"kernel"} else "right (by reference expression)") + f", error {worst:.1g}"


def sanitizer_state(data: Data, op: str) -> str:
    """One op under all tools."""
    tools = data.get("sanitizer", {})
    states = {tool: by_op.get(op, {}).get("status", "not run") for tool, by_op in tools.items()}
    if not states:
        return ""
    bad = {tool: state for tool, state in states.items() if state != "clean"}
    return "; sanitizer " + (", ".join(f"{tool} {state.upper()}" for tool, state in bad.items()) if bad else "clean")


def status_text(devices: Sequence[Data]) -> str:
    """The status section: each op on each device."""
    names = sorted({entry["op"] for data in devices for entry in data.get("ops", [])})
    has_gpu = any(data["machine"]["kind"] == "cuda" for data in devices)
    head = ["op", *(data["machine"]["name"] for data in devices), *([] if has_gpu else ["CUDA"])]
    rows = []
    for name in names:
        row = [f"`{name}`"]
        for data in devices:
            samples = [entry for entry in data.get("ops", []) if entry["op"] == name]
            row.append(op_state(samples) + sanitizer_state(data, name) if samples else "not run")
        rows.append(row + ([] if has_gpu else [NO_GPU]))
    counts = [f"Tests on {d['machine']['name']}: {test_counts(d['tests'])}." for d in devices if "tests" in d]
    return "\n".join([*(table(head, rows) if rows else [NO_GPU]), "", *counts]).strip()


def test_counts(tests: Data) -> str:
    """Passed, failed and skipped."""
    unfinished = f", {len(tests['unfinished'])} files not finished" if tests["unfinished"] else ""
    return "{passed} passed, {failed} failed, {skipped} skipped".format(**tests) + unfinished


def updated(page: str, devices: Sequence[Data]) -> str:
    """The page's text with both tables made anew.

    Raises:
        ValueError: a pair of markers is missing.
    """
    for marker, text in (("speed", speed_text(devices)), ("status", status_text(devices))):
        opening, closing = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
        before, found, rest = page.partition(opening)
        _, closed, after = rest.partition(closing)
        if not (found and closed):
            raise ValueError(f"the page must contain {opening.strip()} and {closing}")
        page = f"{before}{opening}{text}\n{closing}{after}"
    return page


def main(arguments: list[str] | None = None) -> int:
    """Write page and plots; with --check only say whether the page is up to date (exit status 1 if not)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    devices, before = records(), PAGE.read_text()
    after = updated(before, devices)
    if options.check:
        print(
            "docs/status.md is up to date"
            if after == before
            else "docs/status.md differs: run python -m benchmarks.report"
        )
        return int(after != before)
    from benchmarks.plots import draw

    PAGE.write_text(after)
    for data in devices:
        for path in draw(data, headline(data), RESULTS / Path(data["file"]).stem):
            print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
