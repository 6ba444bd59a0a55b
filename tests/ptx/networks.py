"""Whole frozen networks of their real sizes on the PTX of their kernels: `python -m tests.ptx.networks [name]`.

Held against float64; the relative error is that of the number type.
"""

from __future__ import annotations

import copy
import sys
import time

import torch

from hgfast import models
from hgfast.frozen.build import build_graph
from hgfast.frozen.model import FrozenModel
from tests.emulator.device import emulated_cuda
from tests.ptx.module import use_interpreter
from tests.recipe import apply_recipe

# name, side, batch, dtype, most relative error
NETWORKS = (
    ("hourglass52", 256, 1, torch.float16, 0.003),
    ("hg2", 256, 8, torch.bfloat16, 0.02),
)


def relative_error(name: str, side: int, batch: int, dtype: torch.dtype) -> float:
    """The largest one of the network's outputs."""
    model = apply_recipe(models.build(name, implementation="reference"), 7).eval()
    images = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(images.double())
    with emulated_cuda(asynchronous="eager"):
        found = FrozenModel(build_graph(model), dtype, torch.device("cpu"))(images)
    errors = [float((out.double() - e).norm() / e.norm()) for out, e in zip(found, exact, strict=True)]
    return max(errors)


def main() -> int:
    """Run them; 1 if any is wrong."""
    use_interpreter()
    failed = False
    for name, side, batch, dtype, limit in NETWORKS:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        start = time.perf_counter()
        error = relative_error(name, side, batch, dtype)
        failed |= not error <= limit
        seconds = time.perf_counter() - start
        print(
            f"{name} {side}x{side}, batch {batch}, {dtype}: relative error {error:.2g} in {seconds:.0f} s", flush=True
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
