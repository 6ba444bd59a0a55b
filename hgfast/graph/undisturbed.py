"""A place to run a module's code in that leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from hgfast.nn._structure import CALL_HOOKS

GLOBAL_HOOKS: list[dict[int, Any]] = [
    getattr(torch.nn.modules.module, name)
    for name in (*(f"_global{hooks}" for hooks in CALL_HOOKS), "_global_forward_hooks_always_called")
]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Switch gradients on, autocast and global hooks off; the random generators are as before afterwards."""
    hooks = [(registered, dict(registered)) for registered in GLOBAL_HOOKS]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    for registered in GLOBAL_HOOKS:
        registered.clear()
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
        ):
            yield
    finally:
        for registered, before in hooks:
            registered.update(before)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def random_state() -> list[Any]:
    """Return where the generators of torch, Python and numpy are."""
    return [torch.get_rng_state(), random.getstate(), *np.random.get_state(legacy=True)]  # noqa: NPY002 (whose else)
