"""HGFAST_DISABLE: kernels that are not to be used, e.g. "wgmma,split" or "decode_heatmaps".

Names are families of CUDA kernels (wgmma: those of Hopper; bottleneck: a whole block in one; small: few input channels;
split: K split between blocks), "graph" for CUDA graphs of frozen networks and of training steps, "verify" for the
comparison of each kernel with PyTorch before its first use, and operators, with all that belong to them (batch_norm
also means batch_norm_stats). What is disabled runs by other kernels or by PyTorch; `hgfast info` lists it.

HGFAST_TUNE: whether kernels are chosen by their time. "1" (the default): each is timed once on a card; "force": again
in each process; "0": never, the cost model chooses.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hgfast._library import Library

FAMILIES = ("wgmma", "bottleneck", "small", "split")
GRAPH, VERIFY = "graph", "verify"

disabled = frozenset(name.strip() for name in os.environ.get("HGFAST_DISABLE", "").split(",") if name.strip())


TUNE_VALUES = ("0", "1", "force")


def read_tune(value: str | None) -> str:
    """Return what HGFAST_TUNE asks for; a value that it may not have is told and counts as the default."""
    if value and value not in TUNE_VALUES:
        warnings.warn(f"HGFAST_TUNE must be one of {', '.join(TUNE_VALUES)}, got {value!r}", stacklevel=2)
    return value if value in TUNE_VALUES else "1"


tune = read_tune(os.environ.get("HGFAST_TUNE"))


def is_disabled(op: str) -> bool:
    """Whether an operator is named, whole or by the beginning of its name."""
    return bool(disabled) and any(op == name or op.startswith(f"{name}_") for name in disabled)


def tell(library: Library) -> None:
    """Hand the families to the CUDA library."""
    for family in disabled.intersection(FAMILIES):
        library.switch_family(family, False)


def warn_of_unknown(ops: Iterable[str]) -> None:
    """Name what stands for nothing; the operators are known once they are all defined."""
    ops = sorted(ops)
    known = {*FAMILIES, GRAPH, VERIFY, *ops}
    for name in sorted(disabled - known):
        if not any(op.startswith(f"{name}_") for op in ops):
            warnings.warn(
                f"HGFAST_DISABLE: there is no kernel {name!r}; there are {', '.join((*FAMILIES, GRAPH, VERIFY, *ops))}",
                stacklevel=2,
            )
