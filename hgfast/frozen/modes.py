"""Evaluation mode for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and back into the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode; buffers that are written to, and torch's generator on the CPU, are as before afterwards."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers() if not buffer.is_meta]
    try:
        with evaluating(model), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for buffer, values in before:  # BatchNorm writes to its statistics without counting it as a change
            if not torch.equal(buffer, values):
                buffer.copy_(values)
