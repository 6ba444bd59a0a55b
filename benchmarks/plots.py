"""Plots of a record: a roofline of the cases that count bytes and FLOPs; the gain over eager and the fastest peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from benchmarks.device.figures import gains, judged  # noqa: E402

Data = dict[str, Any]
MAX_ROWS = 32
FASTEST, EAGER = "#1f4e9c", "#e08a1e"
STYLE: Any = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 8, "savefig.dpi": 110}


def rooflines(axes: Any, ceilings: Data) -> None:
    """The two ceilings, one roof for each kind of arithmetic."""
    intensity = [2.0**k for k in range(-3, 13)]
    for name, rate in ceilings.items():
        if name != "copy" and isinstance(rate, float):
            roof = [min(x * ceilings["copy"], rate) / 1e9 for x in intensity]
            axes.loglog(intensity, roof, linewidth=1, label=f"{name}, {rate / 1e12:.3g} TFLOP/s")


def roofline(data: Data, path: Path) -> Path | None:
    """FLOP/s against FLOP per byte, one point for each case of ours; None where nothing can be drawn."""
    points = []
    for entry in data.get("bench", []):
        time = judged(next(iter(entry["peers"].values()), {}), entry["stage"])
        if time and entry["bytes"] and entry["flops"]:
            points.append((entry["case"], entry["flops"] / entry["bytes"], entry["flops"] / time[0] / 1e9))
    if not points or "copy" not in data.get("ceilings", {}):
        return None
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        rooflines(axes, data["ceilings"])
        for name, x, y in points:
            axes.plot(x, y, "o", markersize=4, color="black")
            axes.annotate(name, (x, y), xytext=(3, 2), textcoords="offset points", fontsize=5)
        axes.set(xlabel="FLOP per byte that must be moved", ylabel="GFLOP/s", title=data["machine"]["name"])
        axes.legend(frameon=False, fontsize=7)
        figure.savefig(path, metadata={"Software": None})
        plt.close(figure)
    return path


def speedup(data: Data, cases: Sequence[Data], path: Path) -> Path | None:
    """One row a case, quickest gain first: how many times as long eager PyTorch and the fastest peer take."""
    rows = [(entry["case"], entry_gains) for entry in cases if (entry_gains := gains(entry))][:MAX_ROWS]
    if not rows:
        return None
    rows.sort(key=lambda row: min(row[1].values()))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 1.2 + 0.24 * len(rows)), layout="constrained")
        for y, (_, by_peer) in enumerate(rows):
            fastest = min(by_peer, key=lambda name: by_peer[name])
            eager = min((gain for name, gain in by_peer.items() if name.startswith("eager")), default=None)
            gain = by_peer[fastest]
            if eager is not None:
                axes.plot([gain, eager], [y, y], color="0.8", linewidth=2, zorder=1)
                axes.plot(eager, y, "o", color=EAGER, markersize=6, zorder=2)
            axes.plot(gain, y, "o", color=FASTEST, markersize=6, zorder=3)
            place: Any = {"textcoords": "offset points", "ha": "right", "va": "center"}
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axes.annotate(f"{gain:.2f}x {fastest}", (gain, y), (-7, 0), **place, bbox=paper)
        axes.axvline(1, color="black", linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(rows)), [case for case, _ in rows])
        axes.set(xscale="log", xlabel="peer's time / hgfast's time", title=data["machine"]["name"])
        low, high = axes.get_xlim()
        axes.set_xlim(low / 4, high)  # room for the words
        axes.xaxis.set_major_formatter("{x:g}x")
        marks = (FASTEST, "fastest peer"), (EAGER, "better one of eager's two layouts")
        axes.legend(
            handles=[plt.Line2D([], [], color=colour, marker="o", linestyle="", label=text) for colour, text in marks],
            frameon=False,
            loc="lower right",
        )
        figure.savefig(path, metadata={"Software": None})
        plt.close(figure)
    return path


def draw(data: Data, cases: Sequence[Data], stem: Path) -> list[Path]:
    """Both plots, `<stem>-roofline.png` and `<stem>-speedup.png`; those that have something to show."""
    paths = [
        roofline(data, stem.with_name(f"{stem.name}-roofline.png")),
        speedup(data, cases, stem.with_name(f"{stem.name}-speedup.png")),
    ]
    return [path for path in paths if path]
