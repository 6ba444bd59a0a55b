"""`fuse` on every network of tests/zoo: the numbers stay, so does the model, and most convolutions run in kernels."""

from __future__ import annotations

import copy
import io
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import hgfast
from tests.tolerances import relative_error
from tests.zoo.count import torch_convolutions
from tests.zoo.table import NETWORKS, Network, results, with_random_numbers

ALL = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
BATCH = 2


@cache
def models(name: str) -> tuple[nn.Module, nn.Module]:
    """The narrow network in evaluation mode, plain and fused; not to be changed."""
    plain = with_random_numbers(next(network for network in NETWORKS if network.name == name).small()).eval()
    return plain, hgfast.fuse(copy.deepcopy(plain))


def step(model: nn.Module, images: Tensor, training: bool) -> dict[str, Tensor]:
    """What the model gives, its gradients and its buffers after one step, by name."""
    model.train(training).zero_grad()
    leaf = images.clone().requires_grad_()
    torch.manual_seed(0)
    outputs = results(model(leaf))
    weights = torch.Generator().manual_seed(0)
    terms = [(y * torch.randn(y.shape, generator=weights).to(y.dtype)).mean() for y in outputs]
    torch.stack(terms).sum().backward()
    found = {f"output {i}": y.detach() for i, y in enumerate(outputs)} | {"image gradient": leaf.grad}
    found |= {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {name: buffer.clone() for name, buffer in model.named_buffers()}


def together(found: dict[str, Tensor], part: str) -> Tensor:
    """All gradients, or all outputs, as one vector."""
    return torch.cat([value.double().flatten() for name, value in found.items() if part in name])


@ALL
def test_numbers_stay(network: Network) -> None:
    """Exactly in float64; in float32 about as exactly as eager's, but for gradients where another ReLU is off."""
    images, layout = network.images(BATCH), torch.contiguous_format
    if network.random:  # numbers are drawn in the order of memory, which fused parts give channels_last
        layout = torch.channels_last
    images = images.contiguous(memory_format=layout)
    pair, single = ([copy.deepcopy(m).to(memory_format=layout) for m in models(network.name)] for _ in range(2))
    double = [model.double() for model in pair]
    for training in (False, True):
        exact, got = (step(model, images.double(), training) for model in double)
        assert list(got) == list(exact)
        for name, expected in exact.items():
            error = relative_error(got[name], expected)
            assert error <= 1e-7 or torch.allclose(got[name], expected, 1e-7, 1e-9), f"{name}, {training=}: {error:.1e}"
        plain, fused = (step(model, images, training) for model in single)
        for part, floor in {"output": 5e-5, "gradient": 1e-2}.items():
            ours, eager = (relative_error(together(found, part), together(exact, part)) for found in (fused, plain))
            assert ours <= 5 * eager + floor, f"{part}, {training=}: {ours:.1e}, eager {eager:.1e}"


@ALL
def test_share_in_kernels(network: Network) -> None:
    """As many as the table says; and what the report says is left is what torch runs."""
    fused, images = models(network.name)[1], network.images(BATCH)
    with torch.no_grad():
        inferring = torch_convolutions(lambda: fused(images)).total()
    convolutions = {name: m for name, m in fused.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))}
    idle = "the network's forward does not call it"
    left = {name for name in convolutions if fused.fusion.left.get(name, idle) != idle}
    stems = {name for name, m in convolutions.items() if m.kernel_size == (7, 7)}
    assert len(left | stems) == inferring  # torch runs stems in fused parts, too
    trained = copy.deepcopy(fused).train()
    training = torch_convolutions(lambda: trained(images)).total()
    in_kernels = [network.convolutions - count for count in (inferring, training)]
    assert in_kernels == [network.fused] * 2, "more than before? then raise it in the table"


@ALL
def test_model_stays(network: Network) -> None:
    """Keys, values, copies, and the way back."""
    plain, fused = models(network.name)
    state = fused.state_dict()
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    file = io.BytesIO()
    torch.save(fused, file)
    file.seek(0)
    images = network.images(1)
    twins = [copy.deepcopy(fused), torch.load(file, weights_only=False)]
    expected = inferred(fused, images)
    assert all(torch.equal(*pair) for twin in twins for pair in zip(inferred(twin, images), expected, strict=True))
    back = hgfast.unfuse(twins[1])
    assert listed(back) == listed(plain)
    assert all(map(torch.equal, inferred(back, images), inferred(plain, images)))


def listed(model: nn.Module) -> list[object]:
    """Its modules with their types, its parameters and whether they train."""
    parameters = [(name, p.requires_grad) for name, p in model.named_parameters()]
    return [*((name, type(module)) for name, module in model.named_modules()), *parameters]


def inferred(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return results(model(images))
