"""Makes this process run hgfast's CUDA ops on the PTX interpreter: import it before tests.emulator.device is used."""

from __future__ import annotations

import os

from tests.ptx.build import build


def use_interpreter() -> None:
    """Route `emulated_cuda()` of this process to the interpreter's module, built if need be."""
    os.environ["HGFAST_EMULATOR_MODULE"] = str(build("_cuda.so"))
