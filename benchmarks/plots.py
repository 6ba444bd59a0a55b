"""Plots of a record: a roofline with every case that counts bytes and FLOPs, and bars of the gain over each peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from benchmarks.device.figures import gains, judged  # noqa: E402

Data = dict[str, Any]
MAX_BARS = 24
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
    """Horizontal bars, one for each case and peer."""
    bars = [(entry["case"], name, gain) for entry in cases for name, gain in gains(entry).items()]
    chosen = list({case: None for case, _, _ in bars})[:MAX_BARS]
    if not chosen:
        return None
    peers = list({name: None for case, name, _ in bars if case in chosen})
    height = 0.8 / len(peers)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 1.2 + 0.16 * len(chosen) * len(peers)), layout="constrained")
        for k, peer in enumerate(peers):
            mine = [(chosen.index(case), gain) for case, name, gain in bars if name == peer and case in chosen]
            positions = [row + (k - (len(peers) - 1) / 2) * height for row, _ in mine]
            axes.barh(positions, [gain for _, gain in mine], height, label=peer)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_yticks(range(len(chosen)), chosen)
        axes.set(xscale="log", xlabel="peer's time / hgfast's time", title=data["machine"]["name"])
        axes.invert_yaxis()
        axes.legend(frameon=False, fontsize=7)
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
