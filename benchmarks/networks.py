"""Whole networks on a card: inference in three precisions and three batch sizes, and training steps, each peer lazily.

    python -m benchmarks.device --only ceilings,networks
    python -m benchmarks.table --only networks/ --device cuda

Every peer runs the same weights in channels_last and is checked once against the float32 network on the CPU. FLOPs are
those of the direct algorithm. Whether a call is launched kernel by kernel or replayed as a CUDA graph is up to
the timer.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hgfast
from benchmarks.cudnn_fusion import fused as fused_by_hand
from benchmarks.harness import Call, Case
from benchmarks.models import GFLOP, network

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "tf32": torch.float32}
ALLOWED = {"bfloat16": 0.1, "float16": 0.02, "tf32": 0.02}  # relative error that a peer of this arithmetic may have
KEYPOINTS = 16


def placed(model: nn.Module, device: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy on a device, in channels_last."""
    return copy.deepcopy(model).to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Lazy:
    """A peer that is made, and checked, at its first call."""

    def __init__(self, prepare: Callable[[], Call], check: Callable[[Any], None] = lambda result: None) -> None:
        """prepare() -> the call; check(its first result) raises where it is wrong."""
        self.prepare, self.check = prepare, check
        self.call: Call | None = None

    def __call__(self) -> Any:
        """Run the peer."""
        if self.call is None:
            call = self.prepare()
            self.check(call())
            self.call = call
        return self.call()


def without_gradient(model: Callable[[Tensor], Any], images: Tensor, cudnn_benchmark: bool = False) -> Call:
    """A call in inference mode; cudnn_benchmark lets cuDNN time its algorithms at the first call of a shape."""

    def call() -> Tensor:
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, cudnn_benchmark
        try:
            with torch.inference_mode():
                return model(images)[-1]
        finally:
            torch.backends.cudnn.benchmark = before

    return call


def compiled(model: nn.Module, images: Tensor, mode: str) -> Call:
    """torch.compile after folding constants, as its users would for inference."""
    import torch._inductor.config as config

    torch._dynamo.reset()
    function = torch.compile(model, mode=mode)

    def call() -> Tensor:
        with torch.inference_mode(), config.patch(freezing=True):
            return function(images)[-1]

    return call


def frozen(name: str, device: str, dtype: torch.dtype, images: Tensor) -> Call:
    """Ours."""
    model = hgfast.freeze(placed(network(name), device), dtype=dtype)  # type: ignore[attr-defined]
    return without_gradient(model, images)


def fused(model: nn.Module) -> nn.Module:
    """Ours, for training."""
    return hgfast.fuse(model)  # type: ignore[attr-defined]


def agrees(name: str, images: Tensor, allowed: float) -> Callable[[Any], None]:
    """A check of the first, middle and last image's heatmaps against the float32 network on the CPU.

    The first image alone says little: its tiles are the first that each block of a kernel computes.
    """
    chosen = sorted({0, len(images) // 2, len(images) - 1})

    @functools.cache
    def expected() -> Tensor:
        with torch.inference_mode():
            return network(name)(images[chosen].float().cpu())[-1]

    def check(result: Tensor) -> None:
        for image, found, wanted in zip(chosen, result[chosen].float().cpu(), expected(), strict=True):
            error = ((found - wanted).norm() / wanted.norm()).item()
            if not error <= allowed:
                raise RuntimeError(
                    f"the result differs from the float32 network in image {image}: relative error {error:.2g} > "
                    f"{allowed}"
                )

    return check


def inference(device: str, name: str, size: int, batch: int, arithmetic: str) -> dict[str, Call]:
    """All peers of one inference case."""
    dtype = DTYPES[arithmetic]
    images = torch.randn(batch, 3, size, size, device=device, dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    model = functools.cache(lambda: placed(network(name), device, dtype))
    by_hand = functools.cache(lambda: placed(fused_by_hand(copy.deepcopy(network(name))), device, dtype))
    prepare: dict[str, Callable[[], Call]] = {
        "hgfast": lambda: frozen(name, device, dtype, images),
        "eager": lambda: without_gradient(model(), images),
        "eager, cudnn.benchmark": lambda: without_gradient(model(), images, cudnn_benchmark=True),
        "cuDNN fused by hand": lambda: without_gradient(by_hand(), images, cudnn_benchmark=True),
        "torch.compile": lambda: compiled(model(), images, "default"),
        "torch.compile, max-autotune": lambda: compiled(model(), images, "max-autotune"),
    }
    check = agrees(name, images, ALLOWED[arithmetic])
    return {peer: Lazy(make, check) for peer, make in prepare.items()}


def training_step(model: Any, images: Tensor, target: Tensor, loss: Callable[..., Tensor]) -> Call:
    """Forward and backward under autocast to bfloat16, and Adam (fused, the same for all peers)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=images.is_cuda, capturable=images.is_cuda)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16):
            heatmaps = model(images)
            total = sum(loss(stack.float(), target) for stack in heatmaps)
        total.backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    return step


def training(device: str, name: str, batch: int, size: int) -> dict[str, Call]:
    """All peers of one training case."""
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    target = torch.rand(batch, KEYPOINTS, size // 4, size // 4, device=device)

    def plain() -> nn.Module:
        return placed(network(name), device).train()

    prepare: dict[str, Callable[[], Call]] = {
        "hgfast": lambda: training_step(fused(plain()), images, target, hgfast.ops.keypoint_mse),
        "eager": lambda: training_step(plain(), images, target, F.mse_loss),
        "torch.compile": lambda: training_step(torch.compile(plain()), images, target, F.mse_loss),
    }
    return {peer: Lazy(make) for peer, make in prepare.items()}


def inference_case(name: str, size: int, batch: int, arithmetic: str) -> Case:
    """One inference comparison."""
    peers = ("hgfast", "eager", "eager, cudnn.benchmark", "cuDNN fused by hand")
    return Case(
        f"networks/{name}-{size}/batch {batch}/{arithmetic}",
        (*peers, "torch.compile", "torch.compile, max-autotune"),
        partial(inference, name=name, size=size, batch=batch, arithmetic=arithmetic),
        flops=GFLOP[name] * 1e9 * batch * (size / 256) ** 2,
        arithmetic=arithmetic,
        devices=("cuda",),
    )


def training_case(name: str, batch: int, size: int = 256) -> Case:
    """One training comparison; the backward pass has two products for each of the forward pass."""
    return Case(
        f"networks/{name}-{size}/train/batch {batch}/bfloat16",
        ("hgfast", "eager", "torch.compile"),
        partial(training, name=name, batch=batch, size=size),
        flops=3 * GFLOP[name] * 1e9 * batch * (size / 256) ** 2,
        arithmetic="bfloat16",
        devices=("cuda",),
    )


NETWORKS = [("hourglass52", 256), ("hg2", 256), ("hg8", 256), ("hourglass52", 384)]
TRAINING = [training_case("hourglass52", 32), training_case("hg2", 32), training_case("hourglass52", 64)]
INFERENCE = [
    inference_case(name, size, batch, arithmetic)
    for arithmetic in DTYPES
    for batch in (1, 64, 8)
    for name, size in NETWORKS
]
CASES = [*INFERENCE[: 2 * len(NETWORKS)], *TRAINING, *INFERENCE[2 * len(NETWORKS) :]]
