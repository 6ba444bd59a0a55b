"""What commands print."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """Say what an error says, in one line; of one in a loader's process, which brings a whole traceback, the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("Original Traceback" in line for line in lines):
        return lines[-1].partition(": ")[2] or lines[-1]
    return " ".join(lines) or type(error).__name__


def measures_table(metrics: dict[str, float]) -> str:
    """Return two lines of aligned text: names above numbers."""
    width = max([8, *(len(name) + 1 for name in metrics)])
    return "\n".join(
        ("".join(f"{name:>{width}}" for name in metrics), "".join(f"{value:>{width}.2f}" for value in metrics.values()))
    )
