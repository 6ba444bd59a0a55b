"""A plan as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hgfast.frozen.coded_graph import CodedCall, CodedConvCall, CodedPoolCall, QuantiseCall, made_by
from hgfast.frozen.graph import BottleneckCall, PointwiseCall, PoolCall, Value
from hgfast.frozen.plan import Plan
from hgfast.frozen.steps import Step
from hgfast.frozen.torch_call import TorchCall
from hgfast.frozen.torch_call_step import TorchCallStep


@dataclass(frozen=True)
class Row:
    """One call: FLOPs of the direct algorithm, bytes read and written at least (weights as packed)."""

    name: str
    what: str
    shape: str
    kernel: str
    flops: int
    bytes: int


def _what(call: Any) -> str:
    if isinstance(call, TorchCall):
        return call.what
    if isinstance(call, PointwiseCall):
        affine = ["BN"] * (not bool((call.scale == 1).all() and (call.shift == 0).all()))
        parts = affine + ["sum"] * (call.residual is not None) + ["ReLU"] * call.relu
    elif isinstance(call, PoolCall):
        parts = ["2x2 max-pool"]
    elif isinstance(call, CodedPoolCall | QuantiseCall):
        return "2x2 max-pool" if isinstance(call, CodedPoolCall) else "to int8"
    elif isinstance(call, CodedConvCall):
        return _what(call.conv)
    elif isinstance(call, BottleneckCall):
        sizes = (f"{conv.weight.shape[-1]}x{conv.weight.shape[-1]}" for conv in call.convs)
        parts = ["BN-ReLU", *sizes, "skip"]
    else:
        size = call.weight.shape[-1]
        parts = [f"{size}x{size}" + (f"/{call.stride}" if call.stride > 1 else "")]
        if call.extra is not None:
            parts.append("1x1 shortcut" + (f"/{call.extra.stride}" if call.extra.stride > 1 else ""))
        parts += ["residual"] * (call.residual is not None) + ["ReLU"] * call.relu
    if not isinstance(call, PoolCall | PointwiseCall):
        parts += ["merge"] * (call.upsample_to is not None)
    return " + ".join(parts + ["BN-ReLU"] * (call.second is not None))


def _flops(plan: Plan, call: Any) -> int:
    """Return the FLOPs of the direct algorithm."""
    if isinstance(call, CodedConvCall):
        return _flops(plan, call.conv)
    if isinstance(call, PoolCall | PointwiseCall | CodedCall):
        return 0
    if isinstance(call, TorchCall):
        _, h, w = plan.shapes.get(call.output, (0, 0, 0))
        return 2 * plan.batch * h * w * call.weights
    _, h, w = plan.shapes[call.x]
    total = 0
    for conv in call.convs if isinstance(call, BottleneckCall) else (call,):
        pixels = plan.batch * -(-h // conv.stride) * -(-w // conv.stride)
        extra = conv.extra.weight.numel() if conv.extra else 0
        total += 2 * pixels * (conv.weight.numel() + extra)
    return total


def _shape(plan: Plan, value: Value) -> str:
    return "x".join(map(str, plan.shapes[value])) if value in plan.shapes else "no map"


def row(plan: Plan, step: Step | TorchCallStep) -> Row:
    """Return the row of a step."""
    call = step.call
    values = [*call.inputs(), *made_by(call)]
    moved = sum(plan.maker.memory.nbytes(value) for value in values if value in plan.shapes)
    shape = " -> ".join(_shape(plan, value) for value in (values[0], call.output))
    return Row(call.name, _what(call), shape, step.kernel, _flops(plan, call), moved + step.weight_bytes)


def describe_plan(plan: Plan) -> str:
    """Table of all calls and the sums."""
    rows = [row(plan, step) for step in plan.steps]
    names, what, shapes, kernels = ([getattr(r, f) for r in rows] for f in ("name", "what", "shape", "kernel"))
    widths = [max(map(len, column)) for column in (names, what, shapes, kernels)]
    lines = [
        f"{r.name:<{widths[0]}}  {r.what:<{widths[1]}}  {r.shape:<{widths[2]}}  {r.kernel:<{widths[3]}}"
        f"  {r.flops / 1e9:8.3f} GFLOP {r.bytes / 1e6:8.2f} MB"
        for r in rows
    ]
    by_torch = sum(isinstance(step.call, TorchCall) for step in plan.steps)
    calls = f"{len(rows)} calls, {by_torch} of them by torch" if by_torch else f"{len(rows)} calls"
    total = (
        f"{calls}, {sum(r.flops for r in rows) / 1e9:.2f} GFLOP, {sum(r.bytes for r in rows) / 1e6:.0f} MB "
        f"moved; workspace {(plan.arena_bytes + plan.workspace_bytes) / 1e6:.1f} MB for batch {plan.batch}"
    )
    return "\n".join([*lines, total])
