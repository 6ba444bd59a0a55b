"""The weights of frozen networks: state dicts, files of safetensors, and what torch's own exporters are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast import FrozenModel
from tests.recipe import apply_recipe
from tests.small_models import small_model

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def frozen_network(seed: int) -> FrozenModel:
    return hgfast.freeze(apply_recipe(small_model("princeton", num_stacks=1), seed).eval())


def partly_torchs(seed: int) -> FrozenModel:
    """With calls that torch runs."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.PReLU(8), nn.Conv2d(8, 4, 1)
    network = nn.Sequential(*layers)
    nn.init.normal_(layers[1].weight)
    return hgfast.freeze(network.eval())


def last(model: nn.Module) -> Tensor:
    result = model(IMAGES)
    return result if isinstance(result, Tensor) else result[-1]


@pytest.mark.parametrize("make", [frozen_network, partly_torchs])
def test_weights_go_from_one_network_to_another(make: Any) -> None:
    one, other = make(1), make(2)
    expected, state = last(one), one.state_dict()
    assert not torch.equal(last(other), expected)
    assert sum(tensor.numel() for tensor in state.values()) > 100
    assert other.load_state_dict(state).missing_keys == []
    assert torch.equal(last(other), expected)


def test_a_part_of_a_network_and_keys_that_do_not_fit() -> None:
    whole, state = nn.ModuleDict({"net": partly_torchs(1)}), partly_torchs(2).state_dict()
    assert list(whole.state_dict()) == [f"net.{name}" for name in state]
    whole.load_state_dict({f"net.{name}": tensor for name, tensor in state.items()})
    assert torch.equal(whole.state_dict()["net.0.weight"], state["0.weight"])
    net = whole["net"]
    for change, message in (
        ({"0.bias": torch.ones(3)}, r"0.bias must have shape \(8,\), got Tensor"),
        ({"new": torch.ones(3)}, 'Unexpected key.*"new"'),
    ):
        with pytest.raises(RuntimeError, match=message):
            net.load_state_dict({**state, **change})
    del state["0.bias"]
    with pytest.raises(RuntimeError, match='Missing key.*"0.bias"'):
        net.load_state_dict(state)


def test_safetensors_there_and_back(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    frozen, path = frozen_network(1), tmp_path / "a.safetensors"
    frozen.save(path)
    assert torch.equal(last(FrozenModel.load(path)), last(frozen))
    state, kept = frozen.state_dict(), safetensors.load_file(path)
    assert kept.keys() == state.keys() and all(torch.equal(kept[name], state[name]) for name in state)
    with pytest.raises(ValueError, match=r"calls are torch's, and files of frozen networks hold none"):
        partly_torchs(1).save(tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_files_of_safetensors_that_are_no_frozen_network(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="a.safetensors: no such frozen network"):
        FrozenModel.load(path)
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match="a.safetensors: not a readable file of safetensors"):
        FrozenModel.load(path)
    weight = {"a": torch.ones(2)}
    for metadata, message in (
        ({}, "is not a frozen network of hgfast"),
        ({"hgfast.frozen": "{"}, "is damaged"),
        ({"hgfast.frozen": "[" * 10**5}, "is damaged"),
        ({"hgfast.frozen": "3"}, "is not a frozen network of hgfast"),
        ({"hgfast.frozen": json.dumps({"format": "hgfast.frozen", "version": 9})}, "format version 9"),
        ({"hgfast.frozen": json.dumps({"format": {"tensor": "b"}})}, "is damaged: .*tensor must be one of"),
        ({"hgfast.frozen": json.dumps({"format": {"tensor": "a"}})}, "is not a frozen network of hgfast"),
    ):
        safetensors.save_file(weight, path, metadata)
        with pytest.raises(ValueError, match=message):
            FrozenModel.load(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchs_exporters_are_told_why_not() -> None:
    frozen = partly_torchs(1)
    for export in (torch.jit.trace, lambda model, images: torch.export.export(model, (images,))):
        with pytest.raises(RuntimeError, match="a frozen network can be neither traced nor exported"):
            export(frozen, IMAGES)
