"""Small models and files for the tests of checkpoints."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast.checkpoint import CheckpointError
from tests.recipe import apply_recipe
from tests.small_models import small_model


def small(family: str, seed: int = 0, **arguments: Any) -> nn.Module:
    return apply_recipe(small_model(family, **arguments), seed)


def renamed(model: nn.Module, prefix: str = "", head: str = "head.") -> dict[str, Tensor]:
    state = model.state_dict()
    return {prefix + (head + k.removeprefix("head.") if k.startswith("head.") else k): v for k, v in state.items()}


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def expect_error(model: nn.Module, path: Path, *messages: str) -> None:
    """Loading fails, says why, and leaves the model as it was."""
    before = copy.deepcopy(model)
    with pytest.raises(CheckpointError) as caught:
        hgfast.load_checkpoint(model, path)
    for message in messages:
        assert message in str(caught.value)
    assert same_weights(model, before)
