"""Which convolutions of a graph have kernels in int8."""

from __future__ import annotations

from hgfast.frozen.graph import IMAGE, ConvCall, Graph

LONGEST_SUM = 0x7FFFFFFF // (255 * 128)  # products of which int32 holds the sum: csrc/cpu/conv_int8_pack.cpp


def is_possible(graph: Graph, call: ConvCall) -> bool:
    """Whether the kernels take a convolution in int8: channels in fours, and sums of not too many products.

    The network's inputs are numbers, as nothing is known of their range.
    """
    _, c, side, _ = call.weight.shape
    extra = 0 if call.extra is None else call.extra.weight.shape[1]
    inputs = {call.x, *([call.extra.value] if call.extra else [])}
    given = {IMAGE, *graph.others}
    return c % 4 == 0 and extra % 4 == 0 and c * side * side + extra <= LONGEST_SUM and not inputs & given
