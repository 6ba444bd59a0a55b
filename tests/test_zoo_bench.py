"""`python -m benchmarks.zoo` says how a network of tests/zoo fares; a frozen one that errs is refused."""

from __future__ import annotations

import functools
import re

import pytest
import torch

from benchmarks import zoo
from tests.zoo.table import NETWORKS, Network, with_random_numbers


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow networks in the place of the wide ones."""
    small = {network.name: network.small for network in NETWORKS}
    made = functools.cache(lambda name: with_random_numbers(small[name]()).eval())
    monkeypatch.setattr(zoo, "plain", made)
    monkeypatch.setattr(zoo, "size", lambda network: network.small_size)
    monkeypatch.setattr(zoo, "runtimes", lambda network: ["eager NCHW"])


@pytest.mark.parametrize("network", [NETWORKS[0], NETWORKS[2]], ids=lambda network: network.name)
def test_lines(network: Network) -> None:
    lines = list(zoo.lines(network, list(zoo.STAGES), rounds=1))
    assert lines[0].startswith(f"fused: {network.fused} of {network.convolutions} convolutions in kernels")
    step = rf"zoo/train/{re.escape(network.name)}/.*/{{}}: hgfast \d+ ms, eager \d+ ms \(\d+\.\d\dx\)"
    for layout in zoo.LAYOUTS:
        assert any(re.fullmatch(step.format(layout), line) for line in lines)
    if network.frozen:
        assert lines[1].startswith(f"frozen: {network.frozen} of {network.convolutions} convolutions in kernels")
        assert re.fullmatch(r"zoo/model/.*: hgfast \d+ ms, eager NCHW \d+ ms \(\d+\.\d\dx\)", lines[-1])
    else:
        assert lines[-1] == "freeze refuses it"


def test_wrong_results_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = next(network for network in NETWORKS if network.frozen)
    case = zoo.inference_case(network)
    freeze = zoo.hgfast.freeze
    monkeypatch.setattr(zoo.hgfast, "freeze", lambda model: lambda images: [2 * y for y in freeze(model)(images)])
    with pytest.raises(RuntimeError, match="hgfast differs from the model"), torch.no_grad():
        case.make("cpu")["hgfast"]()
