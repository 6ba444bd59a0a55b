"""Makes plans whose kernels are known to be right, and fast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from hgfast import _switches
from hgfast._kernel_table import table_of
from hgfast.frozen.choices import Choices, Needs
from hgfast.frozen.graph import BottleneckCall, ConvCall, Graph, NativeCall, Others
from hgfast.frozen.plan import Plan
from hgfast.frozen.torch_step import BY_TORCH
from hgfast.frozen.tune import is_untimed, tune, tunes
from hgfast.frozen.verify import Tried, verify
from hgfast.frozen.weights import Weights
from hgfast.ops._candidates import has_candidates
from hgfast.ops._conv_native import ConvNeeds

if TYPE_CHECKING:
    from hgfast._library import Library

Made = TypeVar("Made", bound=Tried)


@torch.inference_mode(False)  # what is made here may be written to in another mode
@torch.no_grad()
def make_plan(
    lib: Library,
    graph: Graph,
    weights: Weights,
    batch: int,
    height: int,
    width: int,
    others: Others = (),
    launched: bool = True,
) -> Plan:
    """Make a plan for images (batch, C, height, width) and the other inputs; on CUDA its kernels are timed and tried.

    launched: whether its calls will be launched one by one, not replayed as a CUDA graph.

    Raises:
        NoKernel: a layer has none.
    """
    size, verifies = (batch, height, width), _switches.VERIFY not in _switches.disabled
    timed = has_candidates(lib) and tunes(weights.device)
    if not has_candidates(lib) or not (verifies or timed):
        return Plan(lib, graph, weights, *size, None, others)
    table = table_of(lib, weights.device)
    if is_capturing(weights.device):
        known = Choices(lib, 1, table, timed, functools.partial(_is_there, weights), launched=False)
        return Plan(lib, graph, weights, *size, known, others)
    choices = Choices(lib, 1, table, timed, launched=launched)
    return best(lambda choices: Plan(lib, graph, weights, *size, choices, others), choices)


def best(make: Callable[[Choices], Made], choices: Choices) -> Made:
    """Make a plan again and again until its kernels are timed, where times count, and none is wrong."""
    plan = make(choices)
    if choices.timed and is_untimed(plan):
        tune(choices, make)
        plan = make(choices)
    while _switches.VERIFY not in _switches.disabled and not verify(plan):
        plan = make(choices)
    return plan


def _is_there(weights: Weights, call: NativeCall, needs: Needs) -> bool:
    """Whether a kernel can have a call without weights being packed for it, which cannot be in a capture."""
    if isinstance(call, BottleneckCall):
        return all(weights.has(conv, 0) for conv in call.convs)
    if not isinstance(call, ConvCall):
        return True
    assert isinstance(needs, ConvNeeds)
    return weights.has(call, None if needs.algorithm in BY_TORCH else needs.packing)


def is_capturing(device: torch.device) -> bool:
    """Whether the caller captures a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
