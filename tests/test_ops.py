"""Every registered op: opcheck, torch.compile(fullgraph=True), samples present."""

from __future__ import annotations

import pytest
import torch

import hgfast
from hgfast.ops._registry import OPS, explain
from tests.op_samples import SAMPLES

# opcheck differentiates only what asks for it; ops without a gradient are checked for everything else.
NAMES = sorted(OPS)
UNTRACED = ("test_schema", "test_autograd_registration", "test_faketensor")


def test_every_op_has_samples_and_nothing_else_has() -> None:
    assert sorted(SAMPLES) == NAMES


def overload(name: str) -> torch._ops.OpOverload:
    return getattr(torch.ops.hgfast, name).default


@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str, device: str) -> None:
    """Tracing for any size costs a hundred times the rest, so the first and the last sample stand for all there."""
    samples = SAMPLES[name](device)
    for args in samples:
        torch.library.opcheck(overload(name), args, test_utils=UNTRACED)
    for args in (samples[0], samples[-1]):
        torch.library.opcheck(overload(name), args, test_utils="test_aot_dispatch_dynamic")


@pytest.mark.parametrize("name", NAMES)
def test_compiles_into_one_graph(name: str, device: str) -> None:
    for args in SAMPLES[name](device):
        copies = [arg.detach().clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
        eager = overload(name)(*copies)
        copies = [arg.detach().clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
        compiled = torch.compile(lambda *a: overload(name)(*a), fullgraph=True, backend="aot_eager")(*copies)
        torch.testing.assert_close(compiled, eager)
    torch._dynamo.reset()


def test_explain_names_the_way(device: str) -> None:
    skip, low = torch.randn(1, 4, 6, 6, device=device), torch.randn(1, 4, 3, 3, device=device)
    assert explain("upsample_add", skip, low) == f"kernel: {device}"
    assert explain("upsample_add", skip, torch.randn(1, 4, 2, 2, device=device)).startswith("reference: low of size")
    with pytest.raises(KeyError, match="no hgfast op 'nonsense'"):
        explain("nonsense", skip)


def test_build_info_lists_every_op() -> None:
    info = hgfast.build_info()
    assert set(info["ops"]) == set(NAMES)
    assert info["cpu"]["isa"] in info["cpu"]["compiled_isas"]
    no_cpu_kernel = {name for name, devices in info["ops"].items() if "cpu" not in devices}
    assert no_cpu_kernel == {"bottleneck"}  # runs there as three convolutions
    assert info["cuda"]["compiled"] or info["cuda"]["reason"]
