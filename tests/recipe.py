"""Weights by recipe: every tensor of a state dict is drawn from its own name and a seed.

The golden network vectors in ``tests/data`` were made with such weights, so the weights need not be stored.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

SMALL = 500_000  # numbers; the same networks of this size are drawn again and again


def _draw(name: str, shape: tuple[int, ...], rs: np.random.RandomState, norms: set[str]) -> np.ndarray:
    prefix, _, leaf = name.rpartition(".")
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "weight" and len(shape) == 4:
        return rs.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    if leaf == "running_var" or (leaf == "weight" and prefix in norms):
        return rs.uniform(0.5, 1.5, shape)
    bound = 0.2 if prefix in norms else 0.1
    return rs.uniform(-bound, bound, shape)


def recipe_state_dict(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Draw a float32 state dict for a model; ``num_batches_tracked`` is 0."""
    state = model.state_dict()
    shapes = tuple((name, tuple(value.shape)) for name, value in state.items())
    draw = _drawn_once if sum(value.numel() for value in state.values()) < SMALL else _drawn
    return {name: value.clone() for name, value in draw(shapes, seed).items()}


def _drawn(shapes: tuple[tuple[str, tuple[int, ...]], ...], seed: int) -> dict[str, Tensor]:
    norms = {name.removesuffix(".running_mean") for name, _ in shapes if name.endswith(".running_mean")}
    state = {}
    for name, shape in shapes:
        rs = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
        value = torch.from_numpy(_draw(name, shape, rs, norms))
        state[name] = value.float() if value.is_floating_point() else value
    return state


_drawn_once = functools.lru_cache(maxsize=64)(_drawn)


def apply_recipe(model: nn.Module, seed: int) -> nn.Module:
    """Load weights by recipe into a model and return it."""
    model.load_state_dict(recipe_state_dict(model, seed))
    return model


def made_by_recipe(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A large network with weights by recipe: it does not draw its own first."""
    with torch.device("meta"):
        model = make()
    model.load_state_dict(recipe_state_dict(model, seed), assign=True)
    return model
