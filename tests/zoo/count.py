"""Which convolutions run in torch's operators: counted while a network runs, whatever runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch

TRANSPOSED, GROUPED, ONE_PIXEL, OTHERS = "transposed", "of groups", "of one pixel", "others"
ALL = ("aten::convolution", "mkldnn::_convolution_pointwise", "mkldnn::_convolution_transpose_pointwise")


def torch_convolutions(call: Callable[[], object]) -> Counter[str]:
    """How often torch convolves while call() runs, by kind: the kernel's size as "3x3", or one of those above.

    What hgfast's kernels do is no operator of torch, so that a network's own count less this one is what they ran. Only
    convolutions themselves count, not their gradients.
    """
    with torch.autograd.profiler.profile(use_kineto=False, record_shapes=True) as recorded:
        call()
    kinds: Counter[str] = Counter()
    total = 0
    for event in recorded.kineto_results.events():  # `function_events`, which makes a tree of them, takes seconds
        name = event.name()
        total += name in ALL
        if name == "aten::conv2d":
            kinds[_kind(*event.shapes()[:2])] += 1
        elif name == "aten::conv_transpose2d":
            kinds[TRANSPOSED] += 1
    kinds[OTHERS] = total - kinds.total()
    return +kinds


def _kind(x: list[int], weight: list[int]) -> str:
    if x[1] != weight[1]:
        return GROUPED
    return ONE_PIXEL if x[2:] == [1, 1] else f"{weight[2]}x{weight[3]}"
