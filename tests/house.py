"""Measures how hgfast is built, and writes it into docs/architecture.md: `python -m tests.house`.

For each operation: through how many functions of hgfast a public call reaches the native one (the public one counts),
and in how many files of hgfast and csrc its name stands; for each folder: its files and lines.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import hgfast
from hgfast import _native, nn, ops
from tests.layers import ROOT

PAGE = ROOT / "docs" / "architecture.md"
MARKERS = "<!-- measured -->\n", "<!-- /measured -->"
HOME = str(Path(hgfast.__file__).parent)
SOURCES = (".py", ".pyi", ".cpp", ".h", ".cu", ".cuh")
FOLDERS = (
    "hgfast", "hgfast/ops", "hgfast/nn", "hgfast/reference", "hgfast/graph", "hgfast/fusion", "hgfast/frozen",
    "hgfast/train", "hgfast/data", "csrc/common", "csrc/bindings", "csrc/cpu", "csrc/cuda", "benchmarks", "tests",
)  # fmt: skip


def calls() -> dict[str, tuple[str, Callable[[], Any]]]:
    """The operation's name, and a call, by what it is called."""
    maps, points = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 2) * 8
    x, low = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 4, 4)
    numbers, visible, weight = torch.ones(4), torch.ones(2, 3), torch.randn(8, 4, 3, 3)
    block = nn.BatchNormAct(4).train()
    return {
        "ops.upsample_add": ("upsample_add", lambda: ops.upsample_add(x, low)),
        "ops.max_pool": ("max_pool", lambda: ops.max_pool(x)),
        "ops.conv2d": ("conv2d", lambda: ops.conv2d(x, weight)),
        "ops.conv_bias_act": ("conv_bias_act", lambda: ops.conv_bias_act(x, weight, None)),
        "ops.batch_norm_act": ("batch_norm_act", lambda: ops.batch_norm_act(x, numbers, None, numbers, numbers)),
        "nn.BatchNormAct": ("batch_norm_act", lambda: block(x)),
        "ops.decode_heatmaps": ("decode_heatmaps", lambda: ops.decode_heatmaps(maps, method="dark")),
        "ops.heatmap_peaks": ("heatmap_peaks", lambda: ops.heatmap_peaks(maps, 2)),
        "ops.gaussian_heatmaps": ("gaussian_heatmaps", lambda: ops.gaussian_heatmaps(points, visible, (8, 8), 1.0)),
        "ops.keypoint_mse": ("keypoint_mse", lambda: ops.keypoint_mse(maps, maps.clone(), None)),
    }


class _Watched:
    """A library whose functions note how many functions of hgfast they are called through."""

    def __init__(self, library: Any, found: list[int]) -> None:
        self._library, self._found = library, found

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._library, name)
        if isinstance(value, type) or name.endswith(("query", "sizes", "info", "pack")):
            return value

        def called(*arguments: Any) -> Any:
            self._found.append(sum(1 for _ in _own_frames()))
            return value(*arguments)

        return called


def _own_frames() -> Iterator[Any]:
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(HOME):
            yield frame
        frame = frame.f_back  # type: ignore[assignment]


def depth(call: Callable[[], Any]) -> int:
    """The functions of hgfast on the way to the first native call, the deepest of which makes it."""
    found: list[int] = []
    library = _native._libraries["cpu"]
    _native._libraries["cpu"] = _Watched(library, found)  # type: ignore[assignment]
    try:
        with torch.no_grad():
            call()
    finally:
        _native._libraries["cpu"] = library
    return found[0]


def files_of(op: str) -> int:
    """Files of hgfast and csrc in which the name stands."""
    word = re.compile(rf"\b_?{op}\b")
    return sum(bool(word.search(path.read_text())) for folder in ("hgfast", "csrc") for path in sources(folder))


def sources(folder: str) -> list[Path]:
    """Code in a folder and those below it; what is built there is none."""
    found = (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SOURCES)
    return [path for path in found if "build" not in path.relative_to(ROOT).parts]


def measured() -> str:
    """The tables."""
    lines = ["| call | depth to the native one | files with its name |", "|---|---:|---:|"]
    lines += [f"| `{name}` | {depth(call)} | {files_of(op)} |" for name, (op, call) in calls().items()]
    lines += ["", "| folder | files | lines |", "|---|---:|---:|"]
    for folder in FOLDERS:
        texts = [path.read_text() for path in sources(folder)]
        lines.append(f"| `{folder}` | {len(texts)} | {sum(text.count(chr(10)) for text in texts)} |")
    return "\n".join(lines) + "\n"


def recorded() -> dict[str, int]:
    """Depths as the page has them."""
    return {name: int(depth) for name, depth in re.findall(r"^\| `(\w+\.\w+)` \| (\d+) \|", PAGE.read_text(), re.M)}


def main() -> None:
    """Write the tables."""
    text = PAGE.read_text()
    begin, end = text.index(MARKERS[0]) + len(MARKERS[0]), text.index(MARKERS[1])
    PAGE.write_text(text[:begin] + measured() + text[end:])


if __name__ == "__main__":
    main()
