"""A block's parameters under autocast: cast in one launch each way, never stale; and what it keeps that is small."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hgfast.nn import BasicBlock, Bottleneck, _tape
from hgfast.nn._casts import cast
from tests.fake_cuda.machine import Machine
from tests.recipe import apply_recipe

BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "basic": lambda: BasicBlock(8, 8),
    "basic, wider": lambda: BasicBlock(8, 12),
    "bottleneck": lambda: Bottleneck(8, 8),
    "bottleneck, wider": lambda: Bottleneck(8, 12),
}


def step(block: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """A training step under autocast: the result and all gradients."""
    block.zero_grad(set_to_none=True)
    with torch.autocast(x.device.type, torch.bfloat16):
        y = block(x)
    (y.float() ** 2).sum().backward()
    return {"result": y.detach(), **{name: p.grad for name, p in block.named_parameters() if p.grad is not None}}


def images(device: str = "cpu") -> Tensor:
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    return x.to(device).contiguous(memory_format=torch.channels_last)


def on_device(name: str) -> nn.Module:
    return apply_recipe(BLOCKS[name](), 3).train().to("cuda").to(memory_format=torch.channels_last)


def first_convolution(block: nn.Module) -> nn.Conv2d:
    return next(module for module in block.modules() if isinstance(module, nn.Conv2d))


def kernels(machine: Machine) -> list[str]:
    return [line.split(": ")[1] for line in machine.log]


@pytest.mark.parametrize("name", BLOCKS)
def test_one_cast_forward_and_one_back(name: str, gpu: Machine) -> None:
    """Of all weights and biases; the other cast is the input's."""
    block, x = on_device(name), images("cuda")
    step(block, x)
    block.zero_grad(set_to_none=True)
    gpu.log.clear()
    with torch.autocast("cuda", torch.bfloat16):
        y = block(x)
    assert [kernel for kernel in kernels(gpu) if "copy" in kernel] == ["_to_copy", "_foreach_copy_"]
    gpu.log.clear()
    y.backward(torch.ones_like(y))
    assert [kernel for kernel in kernels(gpu) if "copy" in kernel or "zero" in kernel] == ["_foreach_copy_"]
    for parameter in block.parameters():
        assert parameter.grad is None or parameter.grad.dtype is torch.float32


@pytest.mark.parametrize("name", BLOCKS)
def test_casts_change_no_number(name: str, gpu: Machine) -> None:
    """A block whose convolutions are in bfloat16 themselves, without autocast."""
    block, x = on_device(name), images("cuda")
    half = copy.deepcopy(block)
    for module in half.modules():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)
    y = half(x.to(torch.bfloat16))
    (y.float() ** 2).sum().backward()
    found = step(block, x)
    assert torch.equal(found["result"].cpu(), y.detach().cpu())
    for key, parameter in half.named_parameters():
        if parameter.requires_grad:
            assert found[key].dtype is torch.float32
            assert torch.equal(found[key].cpu(), parameter.grad.float().cpu()), key


@pytest.mark.parametrize("name", ["basic", "bottleneck"])
def test_casts_follow_every_change(name: str) -> None:
    """Optimizer, `.data`, a state dict, in place, another tensor: each as in a block that was never run before."""
    block, x = apply_recipe(BLOCKS[name](), 3).train(), images()
    conv = first_convolution(block)

    def optimize() -> None:
        torch.optim.SGD(block.parameters(), 0.1).step()

    def load() -> None:
        block.load_state_dict({key: value * 1.5 for key, value in block.state_dict().items()})

    def in_place() -> None:
        with torch.no_grad():
            conv.weight.mul_(-0.5)

    def replace() -> None:
        conv.weight = nn.Parameter(torch.flip(conv.weight.detach(), (0,)))

    def data() -> None:
        conv.weight.data.add_(0.25)

    def other_data() -> None:
        conv.weight.data = conv.weight.data.flip(1)

    step(block, x)
    for change in (optimize, data, load, in_place, other_data, replace):
        before = step(block, x)["result"]
        change()
        fresh = copy.deepcopy(block)
        found = step(block, x)
        assert not torch.equal(found["result"], before), change.__name__
        for key, value in step(fresh, x).items():
            assert torch.equal(found[key], value), (change.__name__, key)


@pytest.mark.parametrize("autocast", [True, False])
def test_a_gradient_of_nothing_is_nobody_elses(autocast: bool, gpu: Machine) -> None:
    """A bias before a BatchNorm has zeros, which the block's user may change."""
    block, x = on_device("bottleneck"), images("cuda")
    for _ in range(2):
        block.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            y = block(x)
        y.float().sum().backward()
        gradient = first_convolution(block).bias.grad  # type: ignore[union-attr]
        assert gradient is not None and not gradient.cpu().any()
        gradient.fill_(7)


def test_a_captured_step_has_zeros_of_its_own(gpu: Machine) -> None:
    """Without a step before: nothing that the graph reads is another's memory."""
    block, x = on_device("bottleneck"), images("cuda")
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.graph(graph, stream=stream):
        gradients = gradients_of(block, x)
    graph.replay()
    torch.cuda.synchronize()
    for found, value in zip(gradients, gradients_of(block, x), strict=True):
        torch.testing.assert_close(found.cpu(), value.cpu())


def gradients_of(block: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    with torch.autocast("cuda", torch.bfloat16):
        y = block(x)
    return torch.autograd.grad(y, [p for p in block.parameters() if p.requires_grad], torch.ones_like(y))


def test_cast_leaves_alone_what_has_its_dtype() -> None:
    half, whole = torch.ones(2, dtype=torch.bfloat16), torch.arange(3.0)
    found = cast([half, None, whole, half], [torch.bfloat16, None, torch.bfloat16, torch.bfloat16], copies=[3])
    assert found[0] is half and found[1] is None
    assert found[2] is not None and found[2].dtype is torch.bfloat16 and torch.equal(found[2].float(), whole)
    assert found[3] is not half and torch.equal(found[3], half)  # type: ignore[arg-type]
    weight = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    assert cast([weight], [torch.float16])[0].stride() == weight.stride()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_small_is_kept(name: str, gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not computed again, unless it is larger than SMALL or `recompute` says so; the numbers are the same."""
    x, found, applies = images("cuda"), [], []
    for small, recompute in ((_tape.SMALL, False), (1, False), (_tape.SMALL, True)):
        monkeypatch.setattr(_tape, "SMALL", small)
        block = on_device(name)
        block.recompute = recompute  # type: ignore[assignment]
        with torch.autocast("cuda", torch.bfloat16):
            y = block(x)
        gpu.log.clear()
        y.backward(torch.ones_like(y))
        applies.append(kernels(gpu).count("batch_norm_apply"))
        found.append([p.grad.cpu() for p in block.parameters() if p.grad is not None])
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in on_device(name).modules())
    again = norms - 1 if "basic" in name else norms  # no gradient of a BasicBlock's own reads what it gives
    assert applies == [0, again, again]
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
