"""Frozen networks read from files: their weights are pages of the file, and no memory beside the packed ones."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast.frozen.tensors import named_tensors

SUFFIXES = (".pt", ".safetensors")
CHANNELS = 96  # a layer's weights are 80 pages, so that the outermost ones, which stay, do not count


def network() -> nn.Module:
    """Two convolutions, one with a shortcut."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)]
    return nn.Sequential(*layers).eval()


@functools.cache
def frozen_network() -> hgfast.FrozenModel:
    """The same, frozen; its plans are made by each test for itself."""
    return hgfast.freeze(network())


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"network{request.param}"
    frozen_network().save(path)
    return path


def resident(tensor: Tensor) -> int:
    """Bytes of the mapping that a tensor lies in which are in this process's memory."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= tensor.data_ptr() < int(found[2], 16)
        elif inside and line.startswith("Rss:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no such mapping")


def test_weights_leave_memory_when_they_are_packed(path: Path) -> None:
    images = torch.randn(1, 3, 16, 16)
    frozen = hgfast.FrozenModel.load(path)
    weight = max(named_tensors(frozen.graph).values(), key=lambda tensor: tensor.nbytes)
    assert resident(weight) < weight.nbytes / 2, "loaded"
    expected = frozen(images)
    assert resident(weight) < weight.nbytes / 2, "packed"
    torch.testing.assert_close(expected, network()(images), rtol=1e-4, atol=1e-5)
    assert torch.equal(weight, dict(network().named_parameters())["2.weight"])
    assert resident(weight) > weight.nbytes / 2, "what is read comes back"
    assert torch.equal(hgfast.FrozenModel.load(path)(images), expected)


def test_a_file_that_was_written_to_is_noticed(path: Path) -> None:
    frozen, images = hgfast.FrozenModel.load(path), torch.randn(1, 3, 16, 16)
    expected = frozen(images)
    os.truncate(path, 100)
    assert torch.equal(frozen(images), expected), "what is packed is in use"
    fresh = torch.randn(1, 3, 64, 64)  # another tiling, so another packing
    with pytest.raises(RuntimeError, match=rf"{path.name}: this file was written to after"):
        frozen(fresh)
    for reading in (frozen.state_dict, lambda: copy.deepcopy(frozen), lambda: frozen.save(path.with_stem("other"))):
        with pytest.raises(RuntimeError, match="this file was written to after"):
            reading()


def test_a_file_that_is_replaced_stays_in_use(path: Path) -> None:
    frozen, images = hgfast.FrozenModel.load(path), torch.randn(1, 3, 64, 64)
    other = path.with_stem("other")
    other.write_bytes(b"anything")
    os.replace(other, path)
    assert torch.equal(frozen(images), frozen_network()(images))
    frozen.save(path)
    assert torch.equal(hgfast.FrozenModel.load(path)(images), frozen(images))


def test_copies_have_memory_of_their_own(path: Path) -> None:
    frozen, images = hgfast.FrozenModel.load(path), torch.randn(1, 3, 16, 16)
    expected = frozen(images)
    copies = [copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))]
    os.truncate(path, 100)
    for other in copies:
        assert other.graph.file is None and torch.equal(other(images), expected)


def test_weights_that_were_loaded_into_it_stay(path: Path) -> None:
    """Pages that were written to are no longer the file's."""
    frozen, images = hgfast.FrozenModel.load(path), torch.randn(1, 3, 16, 16)
    frozen.load_state_dict({name: 2 * tensor for name, tensor in frozen.state_dict().items()})
    torch.testing.assert_close(frozen(images), doubled()(images), rtol=1e-4, atol=1e-4)
    again = frozen.state_dict()
    assert all(torch.equal(again[name], 2 * own) for name, own in hgfast.FrozenModel.load(path).state_dict().items())


def doubled() -> nn.Module:
    """The network with all parameters doubled."""
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model
