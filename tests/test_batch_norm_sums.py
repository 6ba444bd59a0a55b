"""The four kernels of BatchNorm over many chunks: statistics that move, who merges, how many launches, odd shapes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hgfast import _native, reference
from hgfast.ops import _batch_norm_ops as operators
from tests.batch_norm_cases import EPS, FORMATS
from tests.tolerances import HALF_TYPES, assert_close, relative_error

# (N, C, H, W), dtype: 36 chunks, so two teams, the last one short; more channels than a block's, five chunks; a chunk
# with one pixel; one lane and two teams; one pixel; one channel; channels without packs; many images of NCHW
CASES = [
    ((2, 256, 24, 24), torch.bfloat16),
    ((1, 264, 9, 16), torch.float16),
    ((1, 256, 33, 1), torch.bfloat16),
    ((1, 8, 131, 127), torch.float32),
    ((2, 24, 1, 1), torch.float32),
    ((3, 1, 70, 50), torch.float32),
    ((2, 20, 45, 40), torch.bfloat16),
    ((71, 3, 5, 7), torch.float32),
    ((5, 17, 8, 9), torch.float64),
]
CASES_AND_FORMATS = [(case, FORMATS[0]) for case in CASES] + [(case, FORMATS[1]) for case in CASES[5:]]


def activation(shape, dtype, memory_format, device, seed=0, scale=2.0, shift=0.5):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale + shift
    return values.to(dtype).contiguous(memory_format=memory_format).to(device)


def stat_type(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def torchs(c, momentum, dtype, device):
    return nn.BatchNorm2d(c, momentum=momentum).to(device, stat_type(dtype)).train()


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize(("case", "memory_format"), CASES_AND_FORMATS)
def test_statistics_and_those_that_move(case, memory_format, momentum, device) -> None:
    """Three batches: a ticket that is not set back, or set back wrongly, shows in the second one."""
    shape, dtype = case
    ours, theirs = (torchs(shape[1], momentum, dtype, device) for _ in range(2))
    theirs = theirs.double()
    for seed in range(3):
        x = activation(shape, dtype, memory_format, device, seed, shift=seed)
        moving = (ours.running_mean, ours.running_var, ours.num_batches_tracked)
        mean, var = operators.stats(x, *moving, momentum)
        theirs(x.double())
        assert mean.dtype == var.dtype == stat_type(dtype) and ours.num_batches_tracked == seed + 1
        spread, exact = torch.std_mean(x.double(), (0, 2, 3), unbiased=False)
        assert_close("batch_norm_act out", mean + spread.to(mean.dtype), exact + spread)  # means may lie near 0
        assert_close("batch_norm_act out", var, spread.square())
    deviation = theirs.running_var.sqrt()
    assert_close("batch_norm_act out", ours.running_mean + deviation.to(mean.dtype), theirs.running_mean + deviation)
    assert_close("batch_norm_act out", ours.running_var, theirs.running_var)


def test_refused_statistics_count_no_batch(device) -> None:
    """Statistics that cannot be written are found before anything is."""
    x, batches = torch.ones(2, 3, 4, 4, device=device), torch.zeros((), dtype=torch.int64, device=device)
    whole, expanded = torch.ones(3, device=device), torch.ones(1, device=device).expand(3)
    for name, running in (("running_mean", (expanded, whole)), ("running_var", (whole, expanded))):
        with pytest.raises(ValueError, match=f"{name} must not be an expanded tensor"):
            operators.stats(x, *running, batches, 0.1)
    assert batches == 0 and torch.equal(whole, torch.ones_like(whole))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_statistics_keep_their_digits(memory_format, device) -> None:
    """A mean that is large against the deviations, and a first chunk that has nothing to do with the others."""
    x = activation((2, 16, 96, 96), torch.float32, memory_format, device, scale=1.0, shift=1e4)
    y = activation((64, 16, 24, 12), torch.float32, memory_format, device, scale=1.0)
    y[0] += 1e3
    for values in (x, y):
        mean, var = operators.stats(values)
        assert relative_error(mean, values.double().mean((0, 2, 3))) < 2e-7
        # a chunk's mean is rounded to float32: 3e-4 where it is 1e4, beside means that differ by 0.04
        assert relative_error(var, values.double().var((0, 2, 3), unbiased=False)) < 2e-5


@pytest.mark.parametrize(("case", "memory_format"), CASES_AND_FORMATS)
def test_gradients(case, memory_format, device) -> None:
    shape, dtype = case
    x, grad, residual, grad2 = (activation(shape, dtype, memory_format, device, seed) for seed in range(4))
    weight, bias = (torch.linspace(0.5, 1.5, shape[1], dtype=stat_type(dtype), device=device) for _ in range(2))
    mean, var = operators.stats(x)
    _, mask = operators.apply(x, mean, var, weight, bias, residual, True, EPS, True)
    wide = [t.double() for t in (mean, var, weight, bias)]
    for gate, add, extra in ((0, None, None), (1, None, None), (2, None, None), (2, residual, None), (1, None, grad2)):
        common = (x, add, mask if gate == 1 else None)
        # ReLU's decision is the kernels' own: near 0 it hangs on the rounding
        keep = operators.apply(x, mean, var, weight, bias, add, True, EPS, True)[1] if gate == 2 else mask
        exact_common = (x.double(), None, keep if gate else None)
        exact_gate, exact_extra = min(gate, 1), None if extra is None else extra.double()
        numbers = (mean, var, weight, bias, EPS)
        for want in (False, True):
            masked, *sums = operators.backward_reduce(grad, extra, *common, *numbers, gate, want)
            exact = reference.batch_norm_backward_reduce(
                grad.double(), exact_extra, *exact_common, *wide, EPS, exact_gate, want
            )
            for ours, theirs in zip(sums, exact[1:], strict=True):
                assert relative_error(ours, theirs) < (1e-12 if dtype == torch.float64 else 4e-6)
            if want:
                assert relative_error(masked, exact[0]) < half_error(dtype, 1e-6)
        for addend in (None, residual):
            last = (*sums, addend, x.numel() / shape[1], True)
            got = operators.backward_apply(grad, extra, *common, *numbers, gate, *last)
            exact_last = (*(s.double() for s in sums), None if addend is None else addend.double(), *last[-2:])
            expected = reference.batch_norm_backward_apply(
                grad.double(), exact_extra, *exact_common, *wide, EPS, exact_gate, *exact_last
            )
            size = expected.norm() + (grad.double() * (wide[2] / (wide[1] + EPS).sqrt())[:, None, None]).norm()
            assert (got - expected).norm() < half_error(dtype, 4e-6) * size  # of two values not much is left


def half_error(dtype, error):
    """What is left of a result that is rounded to a half type; `error` for others."""
    return {torch.float16: 1e-3, torch.bfloat16: 6e-3, torch.float64: 1e-12}.get(dtype, error)


def test_a_constant_channel(device) -> None:
    """Two values for each channel, or all alike: no variance, no gradient of x."""
    x = torch.full((2, 16, 40, 40), 3.0, device=device).contiguous(memory_format=torch.channels_last)
    mean, var = operators.stats(x)
    assert torch.equal(mean, torch.full_like(mean, 3.0)) and torch.equal(var, torch.zeros_like(var))


def test_each_operator_is_one_launch(machine) -> None:
    """Of what shape soever: with one chunk, with several teams of them, with several groups of channels."""
    library = _native.library("cuda")
    if not hasattr(library, "device"):
        pytest.skip("only the emulator counts launches")
    for (shape, dtype), memory_format in CASES_AND_FORMATS:
        x = activation(shape, dtype, memory_format, machine)
        numbers = torch.ones(4, shape[1], dtype=stat_type(dtype))
        batches = torch.zeros((), dtype=torch.int64)
        common = (x, None, x, None, None, *numbers, EPS, 2)
        for operator, arguments in (
            (operators.stats, (x, *numbers[:2], batches, None)),
            (operators.apply, (x, *numbers, None, True, EPS, False)),
            (operators.backward_reduce, (*common, False)),
            (operators.backward_apply, (*common, *numbers[:2], None, 4.0, True)),
        ):
            library.device.take_stats()
            operator(*arguments)
            assert library.device.take_stats()["launches"] == 1


def test_channels_are_merged_in_one_order(machine) -> None:
    """Whichever block is last."""
    library = _native.library("cuda")
    if not hasattr(library, "device"):
        pytest.skip("only the emulator can turn the order of blocks around")
    x = activation((2, 256, 24, 24), torch.bfloat16, torch.channels_last, machine)
    found = []
    for order in ("forward", "reverse", "shuffled"):
        library.device.schedule(order)
        found.append(torch.stack(operators.stats(x)))
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_running_statistics_of_half_types_move_too(dtype, device) -> None:
    bn = nn.BatchNorm2d(8).to(device, dtype)
    x = activation((2, 8, 4, 4), dtype, torch.channels_last, device)
    operators.stats(x, bn.running_mean, bn.running_var, bn.num_batches_tracked, None)
    assert bn.num_batches_tracked == 1 and relative_error(bn.running_mean, x.double().mean((0, 2, 3))) < 0.01


def test_autograd_sees_that_statistics_have_moved(device) -> None:
    bn = nn.BatchNorm2d(8).to(device)
    before = bn.running_mean._version, bn.num_batches_tracked._version
    operators.stats(torch.randn(2, 8, 4, 4, device=device), bn.running_mean, bn.running_var, bn.num_batches_tracked)
    assert bn.running_mean._version > before[0] and bn.num_batches_tracked._version > before[1]
