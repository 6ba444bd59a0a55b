"""What `python -m benchmarks.real_data` has measured, as a page and as curves."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.device.machine import cpu_name
from benchmarks.device.markdown import table
from hgfast.files import atomic_write

IMPLEMENTATIONS = ("reference", "fused")
FORMS = ("float32", "frozen")
MEASURES = ("RMSE", "median", "PCK@0.1", "AP")
HEAD = ("modules", "form", "seeds", *(f"test {name}" for name in MEASURES), "validation RMSE", "training, CPU s")
COLOURS = dict(zip(IMPLEMENTATIONS, ("#e08a1e", "#1f4e9c"), strict=True))
Result = dict[str, Any]
Results = dict[str, dict[str, dict[int, Result]]]  # of each set, implementation and seed


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Mean and standard deviation of the seeds."""
    given = list(values)
    deviation = f" ± {statistics.stdev(given):.{digits}f}" if len(given) > 1 else ""
    return f"{statistics.fmean(given):.{digits}f}{deviation}"


def page(results: Results, epochs: int | None) -> str:
    """Markdown: a table for each set, and one of the seeds."""
    lines = [f"Made by `python -m benchmarks.real_data` on {machine()}.", ""]
    if epochs is not None:
        lines += [f"**A try of {epochs} epochs, not the presets' recipe.**", ""]
    for name, by_implementation in results.items():
        done = [result for kind in IMPLEMENTATIONS for result in by_implementation[kind].values()]
        if not done:
            continue
        counts = done[0]["pictures"] | {"test": int(done[0]["test"]["float32"]["pictures"])}
        parts = ", ".join(f"{count} {part}" for part, count in counts.items())
        lines += [f"## {name}", "", f"Each seed draws a split of its own ({parts}); mean ± deviation.", ""]
        kinds = [kind for kind in IMPLEMENTATIONS if by_implementation[kind]]
        rows = [row(list(by_implementation[kind].values()), kind, form) for kind in kinds for form in FORMS]
        lines += [*table(HEAD, rows), "", *table(*seeds(by_implementation)), ""]
    return "\n".join(lines)


def row(results: Sequence[Result], implementation: str, form: str) -> list[str]:
    """One implementation in one form."""
    measures = [spread(result["test"][form][name] for result in results) for name in MEASURES]
    return [
        implementation,
        form,
        str(len(results)),
        *measures,
        spread(validated(result) for result in results),
        spread((result["processor"] for result in results), 0),
    ]


def seeds(by_implementation: dict[str, dict[int, Result]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table with the test's RMSE and median of each seed, as trained."""
    numbers = sorted({seed for results in by_implementation.values() for seed in results})
    rows = []
    for kind, results in by_implementation.items():
        found = {seed: result["test"]["float32"] for seed, result in results.items()}
        cells = [f"{found[n]['RMSE']:.2f} ({found[n]['median']:.2f})" if n in found else "" for n in numbers]
        if found:
            rows.append([kind, *cells])
    return ["test RMSE (median)", *(f"seed {number}" for number in numbers)], rows


def validated(result: Result) -> float:
    """RMSE of the best validation; NaN where there was none."""
    return float("nan") if result["val"] is None else float(result["val"])


def machine() -> str:
    """What it ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def draw_curves(results: Results, folder: Path, path: Path) -> None:
    """RMSE of the validation pictures over epochs, one line a seed; runs are in `folder`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, which tests of the rest do not need
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(results), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(1, len(results), squeeze=False)[0]
    for axes, (name, by_implementation) in zip(plots, results.items(), strict=True):
        for kind in IMPLEMENTATIONS:
            for place, seed in enumerate(sorted(by_implementation[kind])):
                epochs, errors = curve(folder / name / f"seed{seed}-{kind}" / "log.csv")
                label = f"{kind} ({len(by_implementation[kind])} seeds)" if place == 0 else None
                axes.plot(epochs, errors, color=COLOURS[kind], linewidth=1, alpha=0.8, label=label)
        axes.set(title=name, xlabel="epoch", ylabel="validation RMSE, pixels", yscale="log")
        axes.grid(alpha=0.3, which="both")
        if axes.lines:
            axes.legend(frameon=False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})


def curve(log: Path) -> tuple[list[int], list[float]]:
    """Epochs, from 1, and RMSE of a run's validations."""
    with log.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("RMSE")]
    return [int(row["epoch"]) + 1 for row in rows], [float(row["RMSE"]) for row in rows]
