"""A plan as a table."""

from __future__ import annotations

from dataclasses import dataclass

from hgfast.frozen.graph import ConvCall
from hgfast.frozen.plan import Plan, Step


@dataclass(frozen=True)
class Row:
    """One call: FLOPs of the direct algorithm, bytes read and written at least (weights as packed)."""

    name: str
    what: str
    shape: str
    kernel: str
    flops: int
    bytes: int


def _what(step: Step) -> str:
    call = step.call
    if not isinstance(call, ConvCall):
        parts = ["2x2 max-pool"]
    else:
        size = call.weight.shape[-1]
        parts = [f"{size}x{size}" + (f"/{call.stride}" if call.stride > 1 else "")]
        if call.extra is not None:
            parts.append("1x1 shortcut" + (f"/{call.extra.stride}" if call.extra.stride > 1 else ""))
        parts += ["residual"] * (call.residual is not None) + ["ReLU"] * call.relu
        parts += ["merge"] * (call.upsample_to is not None)
    return " + ".join(parts + ["BN-ReLU"] * (call.second is not None))


def row(plan: Plan, step: Step) -> Row:
    """The row of a step."""
    call = step.call
    (c, h, w), (k, out_h, out_w) = plan.shapes[call.x], plan.shapes[call.output]
    values = [*call.inputs(), call.output] + ([call.second.value] if call.second else [])
    elements = sum(plan.batch * a * b * d for a, b, d in (plan.shapes[value] for value in values))
    flops, weight_bytes, kernel = 0, 0, "max_pool"
    if isinstance(call, ConvCall) and step.sizes is not None and step.needs is not None:
        p, q = step.sizes.result
        reduction = call.weight[0].numel() + (call.extra.weight.shape[1] if call.extra else 0)
        flops, weight_bytes, kernel = 2 * plan.batch * p * q * k * reduction, step.needs.packed_bytes, step.needs.kernel
    shape = f"{c}x{h}x{w} -> {k}x{out_h}x{out_w}"
    return Row(call.name, _what(step), shape, kernel, flops, elements * plan.dtype.itemsize + weight_bytes)


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
    total = (
        f"{len(rows)} calls, {sum(r.flops for r in rows) / 1e9:.2f} GFLOP, {sum(r.bytes for r in rows) / 1e6:.0f} MB "
        f"moved; workspace {(plan.arena_bytes + plan.workspace_bytes) / 1e6:.1f} MB for batch {plan.batch}"
    )
    return "\n".join([*lines, total])
