"""Whole bottlenecks in frozen networks: which blocks become one call, and what becomes of the values inside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hgfast.frozen.arena import in_place_of, place
from hgfast.frozen.bottleneck import fuse_bottlenecks
from hgfast.frozen.build import build_graph
from hgfast.frozen.graph import BottleneckCall, ConvCall, Graph
from hgfast.frozen.shapes import value_shapes
from tests.small_models import small_model


@pytest.fixture
def graph() -> Graph:
    return build_graph(small_model("princeton", increase=0))


def blocks(graph: Graph) -> list[BottleneckCall]:
    return [call for call in graph.calls if isinstance(call, BottleneckCall)]


def test_every_block_without_a_skip_convolution_becomes_one_call(graph: Graph) -> None:
    fused = fuse_bottlenecks(graph, lambda call: True)
    starts = [call for call in graph.calls if call.name.endswith(".conv1")]
    shortcuts = [call for call in graph.calls if isinstance(call, ConvCall) and call.extra]
    widening = [call for call in shortcuts if call.name.endswith((".conv3", ".skip_layer"))]
    assert len(blocks(fused)) == len(starts) - len(widening) > 10
    assert len(fused.calls) == len(graph.calls) - 2 * len(blocks(fused))
    assert fused.outputs == graph.outputs
    for block in blocks(fused):
        first, middle, last = block.convs
        assert last.residual == block.x and last.output == block.output and last.name == f"{block.name}.conv3"
        assert block.upsample_to == last.upsample_to
        assert graph.producer(block.x).second is not None and graph.producer(block.x).second.scale is block.scale


def test_values_of_fused_blocks_are_not_made(graph: Graph) -> None:
    fused = fuse_bottlenecks(graph, lambda call: True)
    inner = {value for block in blocks(fused) for conv in block.convs for value in (conv.x, *conv.inputs())}
    inner -= {block.x for block in blocks(fused)} | {b.upsample_to for b in blocks(fused)}
    made = {call.output for call in fused.calls} | {c.second.value for c in fused.calls if c.second is not None}
    assert not inner & made
    read = {value for call in fused.calls for value in call.inputs()}
    assert read <= made | {0}


def test_blocks_that_are_not_wanted_stay(graph: Graph) -> None:
    wanted = {"hgs.0.0.up1", "features.1.0"}
    fused = fuse_bottlenecks(graph, lambda call: call.name in wanted)
    assert {block.name for block in blocks(fused)} == wanted
    assert fuse_bottlenecks(graph, lambda call: False) == graph


@pytest.mark.parametrize("change", ["residual", "relu", "kernel", "used"])
def test_other_calls_are_no_bottleneck(graph: Graph, change: str) -> None:
    name = "hgs.0.0.up1"
    index = next(i for i, call in enumerate(graph.calls) if call.name == f"{name}.conv2")
    calls, call = list(graph.calls), graph.calls[index]
    assert isinstance(call, ConvCall)
    if change == "residual":
        calls[index + 1] = replace(calls[index + 1], residual=call.x)
    elif change == "relu":
        calls[index] = replace(call, relu=False)
    elif change == "kernel":
        calls[index] = replace(call, weight=call.weight[:, :, :1, :1])
    changed = replace(graph, calls=calls, outputs=[*graph.outputs, *([call.output] if change == "used" else [])])
    fused = fuse_bottlenecks(changed, lambda call: True)
    assert name not in {block.name for block in blocks(fused)} and len(blocks(fused)) > 10


def test_no_block_writes_over_its_input(graph: Graph) -> None:
    """Neighbouring tiles read around their pixels: y takes the memory of what it is merged into, never that of x."""
    fused = fuse_bottlenecks(graph, lambda call: True)
    shapes = value_shapes(graph, 64, 64)
    nbytes = {value: 4 * c * h * w for value, (c, h, w) in shapes.items()}
    offsets, size = place(fused, nbytes, {0, *graph.outputs})
    assert size <= place(graph, nbytes, {0, *graph.outputs})[1]
    merged = 0
    for block in blocks(fused):
        assert in_place_of(block) == block.upsample_to
        begin, end = offsets[block.x], offsets[block.x] + nbytes[block.x]
        assert offsets[block.output] >= end or offsets[block.output] + nbytes[block.output] <= begin
        merged += block.upsample_to is not None and offsets[block.output] == offsets[block.upsample_to]
    assert merged > 0
