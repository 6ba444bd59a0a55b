"""What trying the kernels of a plan costs on an H100, counted on tensors without data: launches, bytes, FLOP."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hgfast import models
from hgfast._kernel_table import Table
from hgfast.frozen import verify
from hgfast.frozen.build import build_graph
from hgfast.frozen.choices import Choices
from hgfast.frozen.plan import Plan
from hgfast.frozen.weights import Weights
from tests.emulator.build import NoToolkit
from tests.emulator.device import load
from tests.test_candidates import card

LAUNCH = 10e-6  # s, of an operator from Python; the card is faster
BYTES, FLOPS = 2e12, 30e12  # a second: 60 % of an H100's memory rate, half its float32 rate
BUDGET = 0.5


class Count(TorchDispatchMode):
    """Counts operators, the bytes that they read and write, and the products of convolutions.

    A convolution without cuDNN is, for each image, a copy of its pixels' surroundings and a matrix product.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.bytes = self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.launches += 1
        if name == "_local_scalar_dense":
            return 0  # how many elements are wrong
        out = func(*args, **(kwargs or {}))
        if func.is_view:
            return out
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if name == "_convolution":
            terms = args[1][0].numel()
            self.flops += 2 * out.numel() * terms
            self.launches += 2 * len(out)
            self.bytes += 2 * 4 * out.numel() // out.shape[1] * terms
        return out


def h100(launched: list[str]) -> Any:
    """hgfast._cuda as it would be with an H100: kernels are chosen, and only noted where they would be launched."""
    try:
        library = load("fast")
    except NoToolkit as error:
        pytest.skip(str(error))
    device = card(library, "H100")
    kernels = {name: lambda *arguments, name=name: launched.append(name) for name in ("conv", "bottleneck", "max_pool")}
    asked = ("ConvShape", "conv_query", "bottleneck_query", "conv_candidates", "bottleneck_candidates")
    return types.SimpleNamespace(
        **{name: getattr(library._module, name) for name in asked},
        **kernels,
        conv_pack=lambda *arguments: launched.append("conv_pack"),
        current_device=lambda: device,
    )


@pytest.mark.parametrize(("network", "batch", "distinct"), [("hourglass52", 32, 33), ("hg2", 32, 32)])
def test_cost(network: str, batch: int, distinct: int, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []
    lib = h100(launched)
    monkeypatch.setattr(verify, "generator_on", lambda device: None)  # there is none without data
    meta = torch.device("meta")
    with meta:
        graph = build_graph(models.build(network).eval())
    weights = Weights(graph, torch.bfloat16, meta, exact=False)
    plan = Plan(lib, graph, weights, batch, 256, 256, Choices(lib, 1, Table({}, None)))
    assert any("wgmma" in step.kernel for step in plan.steps)
    launched.clear()
    with torch.no_grad(), Count() as count:
        assert verify.verify(plan)
    assert len(verify.distinct_calls(plan)) == distinct
    tried = sum(name != "conv_pack" for name in launched)
    assert distinct <= tried <= 2 * distinct
    seconds = (count.launches + len(launched)) * LAUNCH + count.bytes / BYTES + count.flops / FLOPS
    print(
        f"{network}: {count.launches} launches, {count.bytes / 1e9:.0f} GB, {count.flops / 1e12:.2f} TFLOP: {seconds}"
    )
    assert seconds < BUDGET
