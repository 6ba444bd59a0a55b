"""Every network of tests/zoo as published: the share of its convolutions that run in kernels, and what that gains.

    python -m benchmarks.zoo [--only HRNet] [--rounds 9] [--stages share,train,frozen]

On one thread, one image of at most 256x256. A training step is forward, a sum of squares of all results, and backward,
in torch's layout of weights and images and in channels_last. Frozen networks, where `freeze` takes them, are held
against every runtime that is installed. Peers are timed in turn, round after round; ratios are of medians.
"""

from __future__ import annotations

import argparse
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from torch import Tensor, nn

import hgfast
from benchmarks.harness import OURS, Call, Case, cpu_threads, time_interleaved
from benchmarks.networks import Lazy
from benchmarks.peers import MAKERS, available_peers
from benchmarks.peers import Lazy as Runtime
from benchmarks.peers import check as check_result
from tests.zoo.count import torch_convolutions
from tests.zoo.table import NETWORKS, Network, results, with_random_numbers

LARGEST_SIDE = 256
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
WITHOUT_ONNX = ("hourglass104 with corners",)  # cummax has no form there
STAGES = ("share", "train", "frozen")


def size(network: Network) -> tuple[int, int]:
    """Height and width of the image."""
    height, width = network.size
    return min(height, LARGEST_SIDE), min(width, LARGEST_SIDE)


@cache
def plain(name: str) -> nn.Module:
    """The network as published, in evaluation mode; not to be changed. The last one is kept."""
    return with_random_numbers(next(network for network in NETWORKS if network.name == name).full()).eval()


def joined(parts: object) -> Tensor:
    """All results of a network as one tensor (N, numbers)."""
    return torch.cat([part.flatten(1) for part in results(parts)], 1)


class Whole(nn.Module):
    """A network of images (N, 3, H, W) whose results are one tensor, so that no runtime leaves any of them out."""

    def __init__(self, model: nn.Module, nhwc: bool) -> None:
        super().__init__()
        self.model, self.nhwc = model, nhwc

    def forward(self, images: Tensor) -> list[Tensor]:
        return [joined(self.model(images.permute(0, 2, 3, 1) if self.nhwc else images))]


def step(model: nn.Module, images: Tensor) -> Call:
    """A training step without the optimizer."""

    def call() -> None:
        torch.stack([part.square().mean() for part in results(model(images))]).sum().backward()
        model.zero_grad(set_to_none=False)

    return call


def training(device: str, network: Network, layout: str) -> dict[str, Call]:
    """Ours and eager in one layout."""
    memory_format = LAYOUTS[layout]
    images = network.images(1, size(network))
    images = images if network.nhwc else images.contiguous(memory_format=memory_format)

    def trained() -> nn.Module:
        model = copy.deepcopy(plain(network.name)).train()
        return model.to(memory_format=memory_format)  # type: ignore[call-overload, no-any-return]

    prepare: dict[str, Callable[[], Call]] = {
        OURS: lambda: step(hgfast.fuse(trained()), images),
        "eager": lambda: step(trained(), images),
    }
    return {peer: Lazy(make) for peer, make in prepare.items()}


def runtimes(network: Network) -> list[str]:
    """Names of the installed peers that can run the network."""
    return [peer for peer in available_peers() if "onnx" not in MAKERS[peer][1] or network.name not in WITHOUT_ONNX]


def inference(device: str, network: Network) -> dict[str, Call]:
    """The frozen network and the runtimes."""
    height, width = size(network)
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    whole = Whole(plain(network.name), network.nhwc).eval()

    def prepare() -> Call:
        frozen = hgfast.freeze(plain(network.name))
        return lambda: joined(frozen(images))

    ours = Lazy(prepare, lambda result: check_result(OURS, result, whole, images))
    return {OURS: ours} | {peer: Runtime(peer, whole, images) for peer in runtimes(network)}


def training_case(network: Network, layout: str) -> Case:
    """One comparison."""
    name = "zoo/train/{}/1x3x{}x{}/{}".format(network.name, *size(network), layout)
    make = partial(training, network=network, layout=layout)
    return Case(name, (OURS, "eager"), make, threads=1, devices=("cpu",))


def inference_case(network: Network) -> Case:
    """One comparison."""
    name = "zoo/model/{}/1x3x{}x{}".format(network.name, *size(network))
    make = partial(inference, network=network)
    return Case(name, (OURS, *runtimes(network)), make, threads=1, devices=("cpu",))


def shares(network: Network) -> Iterator[str]:
    """How many convolutions of the whole network run in kernels, and what runs in torch."""
    images, model = network.images(1, size(network)), plain(network.name)
    with torch.no_grad():
        ran = torch_convolutions(lambda: model(images)).total()
        fused = hgfast.fuse(copy.deepcopy(model))
        yield share("fused", ran, torch_convolutions(lambda: fused(images)))
        if network.frozen:
            frozen = hgfast.freeze(model)
            images = images.permute(0, 3, 1, 2) if network.nhwc else images
            yield share("frozen", ran, torch_convolutions(lambda: frozen(images)))


def share(what: str, ran: int, left: Counter[str]) -> str:
    """One line."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in left.most_common())
    return f"{what}: {ran - left.total()} of {ran} convolutions in kernels" + (f"; torch's: {kinds}" if kinds else "")


def ratios(case: Case, rounds: int) -> str:
    """One line: medians, and how many times longer each peer takes than hgfast."""
    with cpu_threads(case.threads):
        timings = time_interleaved(case.make("cpu"), "cpu", 0, rounds)
    ours = timings.pop(OURS).median
    peers = (f"{peer} {timing.median * 1e3:.0f} ms ({timing.median / ours:.2f}x)" for peer, timing in timings.items())
    return f"{case.name}: hgfast {ours * 1e3:.0f} ms, " + ", ".join(peers)


def lines(network: Network, stages: list[str], rounds: int) -> Iterator[str]:
    """All that is said of a network."""
    if "share" in stages:
        yield from shares(network)
    if "train" in stages:
        yield from (ratios(training_case(network, layout), rounds) for layout in LAYOUTS)
    if "frozen" in stages:
        yield ratios(inference_case(network), rounds) if network.frozen else "freeze refuses it"


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--rounds", type=int, default=9, help="of each comparison (default: %(default)s)")
    parser.add_argument("--stages", default=",".join(STAGES), help="comma-separated (default: %(default)s)")
    options = parser.parse_args(arguments)
    stages = options.stages.split(",")
    if unknown := set(stages) - set(STAGES):
        parser.error(f"--stages must be made of {', '.join(STAGES)}; got {', '.join(sorted(unknown))}")
    chosen = [network for network in NETWORKS if options.only in network.name]
    if not chosen:
        parser.error(f"--only: no network has a name that contains {options.only!r}")
    for network in chosen:
        print(network.name, flush=True)
        for line in lines(network, stages, options.rounds):
            print(f"  {line}", flush=True)
        plain.cache_clear()


if __name__ == "__main__":
    main()
