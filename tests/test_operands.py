"""No way into a kernel with tensors that do not fit: the registered operators, and fused blocks with other parts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast.fusion.classes import is_fused
from hgfast.nn import BasicBlock, BatchNormAct, Bottleneck, ConvModule, HourglassModule, NewellHourglass
from hgfast.ops._registry import OPS
from tests.op_samples import SAMPLES
from tests.sample_checks import map_tensors, tensors_in

REFUSED = (TypeError, ValueError)


def spoilt(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The tensor with less or more in it than before, or elsewhere."""
    for dim in range(x.dim()):
        yield f"shorter in dimension {dim}", x.narrow(dim, 0, x.shape[dim] - 1)
        yield f"longer in dimension {dim}", torch.cat([x, x.narrow(dim, 0, 1)], dim)
    yield "of another rank", x.flatten()
    yield "of another dtype", x.to(torch.float16 if x.dtype == torch.float64 else torch.float64)
    yield "without data", x.to("meta")


@pytest.mark.parametrize("name", sorted(OPS))
def test_an_operator_refuses_what_does_not_fit_or_gives_the_reference(name: str) -> None:
    operator = getattr(torch.ops.hgfast, name).default
    for args in SAMPLES[name]("cpu")[:3]:
        args = map_tensors(torch.Tensor.detach, args)
        for place, arg in enumerate(args):
            for how, bad in spoilt(arg) if isinstance(arg, Tensor) else ():
                changed = (*args[:place], bad, *args[place + 1 :])
                try:
                    results = tensors_in(operator(*map_tensors(torch.clone, changed)))
                except (*REFUSED, RuntimeError, IndexError):
                    continue
                if all(tensor.is_meta for tensor in tensors_in(changed)) or not bad.numel():
                    continue  # nothing to compare: no data, or the mean of no values
                expected = tensors_in(OPS[name].reference(*map_tensors(torch.clone, changed)))
                for result, value in zip(results, expected, strict=True):
                    message = f"argument {place} {how}"
                    torch.testing.assert_close(
                        result, value, rtol=1e-3, atol=1e-4, msg=lambda m, n=message: f"{n}: {m}"
                    )


def fused(*layers: nn.Module) -> nn.Module:
    """Layers that run as one operation."""
    return hgfast.fuse(nn.Sequential(*layers))


def takes(module: nn.Module, x: Tensor) -> bool:
    """Whether a module takes x; fused ones take what torch does: empty maps, tensors without data."""
    try:
        module(x)
    except (*REFUSED, RuntimeError):
        return False
    return True


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: ConvModule(4, 8, 3, bias=True),
    "conv without BatchNorm": lambda: ConvModule(4, 8, 1, bias=True, bn=False, relu=False),
    "conv, ReLU alone": lambda: ConvModule(4, 8, 1, bn=False),
    "basic": lambda: BasicBlock(4, 4),
    "basic, strided": lambda: BasicBlock(4, 6, 2),
    "bottleneck": lambda: Bottleneck(4, 4),
    "bottleneck, wider": lambda: Bottleneck(4, 8),
    "norm": lambda: BatchNormAct(4),
    "sequential": lambda: fused(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
    "norm and ReLU": lambda: fused(nn.BatchNorm2d(4), nn.ReLU()),
    "hourglass": lambda: HourglassModule(1, [4, 4], [1, 1]),
    "Newell's hourglass": lambda: NewellHourglass(1, 4),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_refuses_another_number_of_channels(name: str, training: bool) -> None:
    block = BLOCKS[name]().train(training)
    for channels in (0, 1, 3, 5, 9, 400):
        if is_fused(block) and takes(hgfast.unfuse(copy.deepcopy(block)), torch.randn(2, channels, 8, 8)):
            continue
        before = copy.deepcopy(block.state_dict())
        with pytest.raises((*REFUSED, RuntimeError), match=r"\bx\b|expected input|running_mean should contain"):
            block(torch.randn(2, channels, 8, 8))
        counts = channels == 0 or is_fused(block)  # torch counts a batch that it refuses
        assert counts or all(torch.equal(before[key], value) for key, value in block.state_dict().items())


def parts(block: nn.Module) -> list[str]:
    return [*dict(block.named_parameters()), *(name for name, b in block.named_buffers() if b.dim())]


def replaced(block: nn.Module, name: str, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy of the block with one of its tensors changed."""
    block = copy.deepcopy(block)
    owner, _, leaf = name.rpartition(".")
    module = block.get_submodule(owner)
    value = change(getattr(module, leaf).detach())
    setattr(module, leaf, nn.Parameter(value) if leaf in module._parameters else value)
    return block


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "shorter": lambda x: x[:-1].clone(),
    "one number": lambda x: x[:1].clone(),
    "longer": lambda x: torch.cat([x, x]),
    "fewer input channels": lambda x: x[:, :-1].clone() if x.dim() == 4 else x[:-1].clone(),
    "another rank": lambda x: x[0].clone(),
    "doubles": torch.Tensor.double,
    "no data": lambda x: x.to("meta"),
}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", set(BLOCKS) - {"conv, ReLU alone"})  # torch's own, which takes other widths
def test_a_block_refuses_a_part_that_does_not_fit(name: str, training: bool, how: str) -> None:
    block, x = BLOCKS[name]().train(training), torch.randn(2, 4, 8, 8)
    chosen = parts(block)
    if "hourglass" in name:  # made of the blocks above: each part once, each change many times
        chosen = chosen[list(CHANGES).index(how) :: len(CHANGES)]
    for part in chosen:
        if "skip_layer" in part and name != "bottleneck, wider":
            continue  # there, but never run
        if "running" in part and training and how == "doubles":
            continue  # moved in their own precision
        bad = replaced(block, part, CHANGES[how])
        if is_fused(block) and takes(hgfast.unfuse(copy.deepcopy(bad)), x):
            continue
        before = {key: value.clone() for key, value in bad.named_buffers() if not value.is_meta}
        with pytest.raises((*REFUSED, RuntimeError)):
            bad(x)
            pytest.fail(f"{part} was taken")
        if len(before) <= 3:  # of one norm: nothing has moved
            assert all(torch.equal(dict(bad.named_buffers())[key], value) for key, value in before.items()), part


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: BasicBlock(8, 8),
        lambda: BatchNormAct(8),
        lambda: fused(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)),
    ],
)
def test_views_that_stand_for_the_negative_of_others(make: Callable[[], nn.Module], channels_last: bool) -> None:
    torch.manual_seed(0)
    module = make()
    values = torch.randn(2, 8, 6, 6)
    values = values.contiguous(memory_format=torch.channels_last) if channels_last else values
    seed = torch.randn(2, 8, 6, 6)
    found = []
    for x, grad in ((torch._neg_view(values), torch._neg_view(seed)), (-values, -seed)):
        leaf = x.detach().requires_grad_()
        y = module(leaf)
        found.append([y, *torch.autograd.grad(y, [leaf, *module.parameters()], grad)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_weight_of_another_size_than_the_kernel_is_torchs_to_convolve() -> None:
    block, x = ConvModule(4, 4, 3, bn=True), torch.randn(2, 4, 8, 8)
    block.conv.weight = nn.Parameter(torch.randn(4, 4, 5, 5))
    assert block(x).shape == torch.conv2d(x, block.conv.weight, None, 1, 1).shape
