"""The record of a run: a CSV file with a row an epoch, curves drawn from it, and events for TensorBoard."""

from __future__ import annotations

import csv
import io
import os
from numbers import Real
from pathlib import Path

from hgfast import _checks
from hgfast.files import atomic_write, write_text


class RunLog:
    """Rows of a CSV file that may get new columns and survive a crash.

    Args:
        path: the file; rows that are there already are kept.
        first_epoch: rows of this epoch and later are dropped (they are about to be done again).

    Raises:
        TypeError, ValueError: another kind of argument.
        OSError: the file cannot be read or written.
    """

    def __init__(self, path: str | Path, first_epoch: int = 0) -> None:
        self.path = _checks.path("RunLog", "path", path)
        first_epoch = _checks.integer("RunLog", "first_epoch", first_epoch, 0)
        self.rows: list[dict[str, str]] = []
        if self.path.is_file():
            self.rows = [row for row in read_log(self.path) if int(row["epoch"]) < first_epoch]
            self._rewrite()

    def append(self, row: dict[str, float]) -> None:
        """Add a row; it is on the disk when this returns.

        Raises:
            TypeError: something else than numbers by name.
            OSError: the file cannot be written.
        """
        if not isinstance(row, dict) or not all(isinstance(name, str) for name in row):
            raise TypeError(f"RunLog: row must be a dict of numbers by name, got {_checks.describe(row)}")
        for name, value in row.items():
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"RunLog: row[{name!r:.80}] must be a number, got {_checks.describe(value)}")
        known = set(self.rows[0]) if self.rows else set()
        self.rows.append({name: f"{value:.6g}" for name, value in row.items()})
        if not known or not set(row) <= known:
            self._rewrite()
            return
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, list(self._columns())).writerow(self.rows[-1])
            file.flush()
            os.fsync(file.fileno())

    def _columns(self) -> dict[str, None]:
        return {name: None for row in self.rows for name in row}

    def _rewrite(self) -> None:
        columns = self._columns()
        self.rows = [{name: row.get(name, "") for name in columns} for row in self.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns))
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


def read_log(path: Path) -> list[dict[str, str]]:
    """Read the rows of a log; a last row that was cut off is left out."""
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if (row.get("epoch") or "").isdigit() and None not in row.values()]


class TensorBoard:
    """Curves for TensorBoard, which shows them while training goes on.

    Args:
        folder: gets files of events.
        step: where the run goes on; what an earlier attempt has written of later steps is not shown.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def add(self, values: dict[str, float], step: int) -> None:
        """Add points of several curves at an optimisation step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()


def draw_curves(rows: list[dict[str, str]], path: Path, measures: tuple[str, ...] = ("PCKh", "PCKh@0.1")) -> None:
    """Draws loss and accuracy over epochs as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, which not every run of a command needs
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6))
    FigureCanvasAgg(figure)
    # Set by hand: a layout engine draws all labels twice more to find what this says.
    loss_axes, accuracy_axes = figure.subplots(
        1, 2, gridspec_kw={"left": 0.08, "right": 0.98, "bottom": 0.14, "top": 0.92, "wspace": 0.15}
    )
    loss_axes.plot(*_series(rows, "loss"), color="#d62728", marker=".")
    loss_axes.set(title="training loss", xlabel="epoch", yscale="log")
    for name in measures:
        epochs, values = _series(rows, name)
        if epochs:
            accuracy_axes.plot(epochs, values, marker=".", label=f"{name}: {values[-1]:.1f}")
    accuracy_axes.set(title="validation", xlabel="epoch")
    if accuracy_axes.lines:
        accuracy_axes.legend(loc="lower right")
    for axes in (loss_axes, accuracy_axes):
        axes.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=130)


def _series(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    pairs = [(int(row["epoch"]) + 1, float(row[name])) for row in rows if row.get(name)]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def shown_in_curves(metrics: dict[str, float]) -> tuple[str, ...]:
    """Return the names of the measures that people look at."""
    return tuple(name for name in metrics if name.startswith(("PCK", "AP", "AUC", "NME", "RMSE", "median")))


def line_of(row: dict[str, float], epochs: int) -> str:
    """Return a row of the log as a line of text."""
    parts = [f"epoch {row['epoch'] + 1:.0f}/{epochs}", f"loss {row['loss']:.4g}", f"lr {row['lr']:.3g}"]
    parts += [f"{name} {row[name]:.2f}" for name in shown_in_curves(row)]
    return "  ".join([*parts, f"{row['images_per_second']:.0f} images/s"])
