"""Two modules that must not be told apart: results, gradients, statistics, errors, and what is left behind."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def behaviour(module: nn.Module, x: Tensor, gradients: bool) -> dict[str, Any]:
    """What one call does, by name; random numbers begin anew."""
    module.zero_grad()
    torch.manual_seed(0)
    leaf = x.clone().requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        given = leaf * 1
        try:
            result = module(given)
            if gradients:
                sum(y.square().sum() for y in tree_leaves(result)).backward()
        except Exception as error:
            return {"error": type(error), "in place": "modified by an inplace operation" in str(error)}
    found: dict[str, Any] = {f"result {i}": y.detach() for i, y in enumerate(tree_leaves(result))}
    found |= {"input": given.detach(), "gradient": leaf.grad, "kind": type(result)}
    found |= {f"gradient {name}": p.grad for name, p in module.named_parameters()}
    found |= {name: buffer.clone() for name, buffer in module.named_buffers()}
    return found | {"random state": torch.get_rng_state()}


def assert_same(got: nn.Module, expected: nn.Module, x: Tensor, tolerance: float = 1e-9) -> None:
    """In training and evaluation, with and without gradients, one after the other; x in float64."""
    for training in (True, False):
        for gradients in (True, False):
            pair = [behaviour(module.train(training), x, gradients) for module in (got, expected)]
            where = f"{training=}, {gradients=}"
            if pair[1].get("in place"):  # autograd refuses what it did not keep; the fused one keeps something else
                continue
            assert pair[0].keys() == pair[1].keys(), f"{pair[0].keys() ^ pair[1].keys()}, {where}"
            for name, value in pair[1].items():
                if isinstance(value, Tensor) and value.is_floating_point():
                    found = f"{name}, {where}"
                    torch.testing.assert_close(pair[0][name], value, rtol=tolerance, atol=tolerance, msg=found)
                elif isinstance(value, Tensor):
                    assert torch.equal(pair[0][name], value), f"{name}, {where}"
                else:
                    assert pair[0][name] is value, f"{name}, {where}"


def pair_of(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Two copies in float64, and in channels_last, whose random numbers are drawn in one order."""
    plain = copy.deepcopy(module).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return plain, copy.deepcopy(plain)


def images(*shape: int) -> Tensor:
    """Random numbers in float64, in channels_last."""
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)
