"""How many kernels a training step launches on CUDA, counted on the fake devices: what has been reached is held.

Counted as a CUDA profiler would, where only operators can be counted: each is one launch, a convolution's backward two;
views and allocations are none. The network's step alone: forward pass, a sum of its results, backward pass, with
parameters in float32 and autocast to bfloat16.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hgfast
from hgfast import _native
from hgfast.nn import _tape
from hgfast.ops import _tickets
from tests.fake_cuda.machine import Machine

# side of the images, launches of hgfast, launches of plain PyTorch
REACHED = {"hourglass52": (128, 699, 943), "hg2": (64, 850, 1409), "hg8": (64, 3166, 5255)}


def step(model: nn.Module, images: torch.Tensor) -> None:
    model.zero_grad(set_to_none=True)
    with torch.autocast("cuda", torch.bfloat16):
        outputs = model(images)
    torch.stack([output.float().mean() for output in outputs]).sum().backward()


def launches(machine: Machine, name: str, side: int, implementation: str) -> int:
    """Of the second step: the first one has what is done once."""
    machine.idle = frozenset({"convolution", "convolution_backward"})
    model = hgfast.models.build(name, implementation=implementation).train().to("cuda")
    model = model.to(memory_format=torch.channels_last)
    images = torch.zeros(2, 3, side, side, device="cuda").contiguous(memory_format=torch.channels_last)
    step(model, images)
    machine.log.clear()
    step(model, images)
    assert machine.waits() == []
    return len(machine.log) + sum(line.endswith(": convolution_backward") for line in machine.log)


@pytest.mark.parametrize("name", REACHED)
def test_launches_of_a_training_step(gpu: Machine, name: str) -> None:
    side, *reached = REACHED[name]
    assert [launches(gpu, name, side, implementation) for implementation in ("fused", "reference")] == reached


def test_launches_of_larger_maps(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 images of 256x256 have 256 times as many pixels: what is too large to be kept there is computed again."""
    monkeypatch.setattr(_tape, "SMALL", _tape.SMALL // 256)
    assert launches(gpu, "hg2", 64, "fused") == 892


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_norm_is_four_launches(gpu: Machine, momentum: float | None) -> None:
    """Two forward, with running statistics and the number of batches, and two backward; nothing waits."""
    bn = hgfast.nn.BatchNormAct(8, momentum=momentum).to("cuda")
    x = torch.randn(2, 8, 4, 4, device="cuda", requires_grad=True)
    bn(x).sum().backward()
    gpu.log.clear()
    out = bn(x)
    kernels = [line.split(": ")[1] for line in gpu.log]
    assert kernels == ["batch_norm_stats", "batch_norm_apply"]
    gpu.log.clear()
    out.backward(torch.ones_like(out))
    kernels = [line.split(": ")[1] for line in gpu.log]
    assert [name for name in kernels if "batch_norm" in name] == [
        "batch_norm_backward_reduce",
        "batch_norm_backward_apply",
    ]
    assert bn.num_batches_tracked == 2


def test_the_operation_alone_is_four_launches(gpu: Machine) -> None:
    """`hgfast.ops.batch_norm_act` moves running statistics in its kernel, too."""
    x = torch.randn(2, 8, 4, 4, device="cuda", requires_grad=True)
    mean, var = torch.zeros(8, device="cuda"), torch.ones(8, device="cuda")
    hgfast.ops.batch_norm_act(x, None, None, mean, var, training=True)
    gpu.log.clear()
    out = hgfast.ops.batch_norm_act(x, None, None, mean, var, training=True)
    out.backward(torch.ones_like(out))
    kernels = [line.split(": ")[1] for line in gpu.log]
    assert [name for name in kernels if name != "ones_like"] == [
        "batch_norm_stats",
        "batch_norm_apply",
        "batch_norm_backward_reduce",
        "batch_norm_backward_apply",
    ]
    torch.testing.assert_close(mean.cpu(), 0.19 * x.detach().mean((0, 2, 3)).cpu())


def test_streams_share_no_tickets(gpu: Machine) -> None:
    """Two streams at once: the machine would report the race for what they share."""
    x, streams = torch.randn(2, 8, 4, 4, device="cuda"), [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    for stream in streams:
        with torch.cuda.stream(stream):
            torch.ops.hgfast.batch_norm_stats(x)
    torch.cuda.synchronize()


def test_graphs_have_tickets_of_their_own(gpu: Machine) -> None:
    """Two graphs captured on one stream, replayed on two at once; each sets its tickets to zero first."""
    x, captured = torch.randn(2, 8, 4, 4, device="cuda"), torch.cuda.Stream()
    captured.wait_stream(torch.cuda.current_stream())
    graphs = [torch.cuda.CUDAGraph() for _ in range(2)]
    results = []
    for graph in graphs:
        with torch.cuda.graph(graph, stream=captured):
            torch.ops.hgfast.batch_norm_stats(x)
            results.append(torch.ops.hgfast.batch_norm_stats(x))
    gpu.log.clear()
    torch.cuda.synchronize()
    for graph in graphs:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.replay()
    torch.cuda.synchronize()
    names = [line.split(": ")[1] for line in gpu.log if not line.startswith("host waits")]
    assert sum("zero" in name or "fill" in name for name in names) == 2, names
    torch.testing.assert_close(results[1][0].cpu(), x.mean((0, 2, 3)).cpu())


def test_more_tickets_are_asked_for_than_there_are(gpu: Machine) -> None:
    x, library = torch.zeros(1, device="cuda"), _native.library("cuda")
    few = _tickets.tickets(library, x, 5)
    many = _tickets.tickets(library, x, _tickets.LEAST + 1)
    assert few is not None and many is not None and few.numel() == 5 and many.numel() == _tickets.LEAST + 1
    assert not many.any() and _tickets.tickets(library, x, 0) is None
