"""From a captured graph to the calls of a frozen network: what is folded into what."""

from __future__ import annotations

import copy
import operator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgfast.frozen.emit import Emitter
from hgfast.frozen.flow import Flow
from hgfast.frozen.fold import batch_norm_affine, doubles_size, is_ours, weight_and_bias
from hgfast.frozen.graph import PointwiseCall, PoolCall, Value
from hgfast.frozen.sums import Product, Raised, Sum, from_transposed
from hgfast.frozen.torch_call import TorchCall, concatenated
from hgfast.graph import ops
from hgfast.graph.captured import CapturedCall, CapturedGraph, Node, Ref, replaced, tensor_at

FACTORS = (2, 4, 8)


class Lowering:
    """Walks through the nodes; each is a sum that may still grow, or a value that a call makes."""

    def __init__(self, module: nn.Module, captured: CapturedGraph, flow: Flow, emitter: Emitter) -> None:
        self.module, self.captured, self.flow, self.out = module, captured, flow, emitter
        self.pending: dict[int, Sum] = {}
        self.made: dict[int, Value] = {}
        self.norms: dict[int, tuple[Value, Tensor, Tensor]] = {}  # BatchNorms that wait for their ReLU

    def run(self, inputs: dict[int, Value]) -> None:
        """Lower all nodes; inputs: their values, by the numbers of their nodes."""
        self.made |= inputs
        for number, node in self.flow.nodes.items():
            if number in self.made or isinstance(node.op, (ops.Stored, ops.Input, ops.Requirement)):
                continue
            found = self._known(number, node)
            if isinstance(found, Sum):
                self._keep(number, found)
            elif number not in self.made and number not in self.norms:
                self.made[number] = self._by_torch(number, node)

    def value(self, number: int) -> Value:
        """Return the value of a node, made now if it is still a sum."""
        if number in self.norms:
            x, scale, shift = self.norms.pop(number)
            call = PointwiseCall(self._name(number), self.out.new_value(), x, scale.float(), shift.float())
            self.made[number] = self.out.add(number, call)
        if number not in self.made:
            self.made[number] = self.out.build(
                self.pending.pop(number), number, self._name(number), self.flow.shapes[number][1]
            )
        return self.made[number]

    def _name(self, number: int) -> str:
        return self.flow.nodes[number].name

    def _keep(self, number: int, found: Sum) -> None:
        """Keep a sum: one that is read once may grow, all others are made."""
        if found.value is not None:
            self.made[number] = found.value
            return
        self.pending[number] = found
        if self.flow.uses[number] > 1:
            self.value(number)

    def _sum(self, number: int) -> Sum:
        """Return what a node is, if only the node that asks reads it."""
        if number in self.pending:
            return self.pending.pop(number)
        return Sum(values=[self.value(number)])

    def _open(self, number: int) -> Sum:
        """Return the same, to be added to: not behind a ReLU."""
        found = self._sum(number)
        if not found.relu and not any(p.phases > 1 for p in found.products):
            return found
        self.pending[number] = found
        return Sum(values=[self.value(number)])

    def _known(self, number: int, node: Node) -> Sum | None:
        """Return what the node is; None if torch is to run it, or if it is a BatchNorm that waits."""
        op = node.op
        if isinstance(op, (ops.Identity, ops.Dropout)):
            return self._sum(node.inputs[0])
        shape = self.flow.shapes.get(number, ())
        if len(shape) != 4 or len(self.flow.shapes.get(node.inputs[0], ())) != 4:
            return None
        if isinstance(op, ops.Conv):
            return self._conv(number, node, op)
        if isinstance(op, ops.Deconv):
            return self._deconv(number, node, op)
        if isinstance(op, ops.Norm):
            return self._norm(number, node, op)
        if isinstance(op, ops.Activation):
            return self._relu(number, node) if op.kind == "relu" else None
        if isinstance(op, ops.Add):
            return self._add(node)
        if isinstance(op, ops.Upsample):
            return self._upsample(number, node, op)
        if isinstance(op, ops.Concat):
            return self._concat(number, node, op)
        return self._pool(number, node, op) if isinstance(op, ops.Pool) else None

    def _find(self, path: str) -> Tensor:
        found = tensor_at(self.module, self.captured.constants, path)
        assert found is not None
        return found.detach().float() if found.dtype != torch.float64 else found.detach()

    def _conv(self, number: int, node: Node, op: ops.Conv) -> Sum | None:
        if not is_ours(op, self._find(op.weight)):
            return Sum(values=[self.made[number]]) if self._folded(number, node) else None
        weight, bias = weight_and_bias(op, self._find, len(self._find(op.weight)))
        return Sum([Product(number, node.name, self.value(node.inputs[0]), weight, bias, op.stride[0])])

    def _deconv(self, number: int, node: Node, op: ops.Deconv) -> Sum | None:
        if not doubles_size(op, self._find(op.weight)):
            return None
        weight, bias = weight_and_bias(op, self._find, self._find(op.weight).shape[1])
        taps = from_transposed(weight, op.padding[0])
        if taps is None:
            return None
        return Sum([Product(number, node.name, self.value(node.inputs[0]), taps, bias.repeat(4), phases=4)])

    def _norm(self, number: int, node: Node, op: ops.Norm) -> Sum | None:
        if op.kind != "batch" or not op.uses_statistics:
            return None
        scale, shift = batch_norm_affine(op, self._find)
        before = self._sum(node.inputs[0])
        if before.product is not None:
            return Sum([before.product.scaled(scale, shift)])
        if before.value is None:
            self.pending[node.inputs[0]] = before
        self.norms[number] = self.value(node.inputs[0]), scale, shift
        reader = self.flow.reader(number)
        if reader is None or self.flow.nodes[reader].op != ops.Activation("relu"):
            self.value(number)
        return None

    def _relu(self, number: int, node: Node) -> Sum | None:
        source = node.inputs[0]
        if source in self.norms:
            x, scale, shift = self.norms.pop(source)
            self.made[number] = self.out.second(number, self._name(source), x, scale.float(), shift.float())
            return Sum(values=[self.made[number]])
        before = self._sum(source)
        if before.value is not None:
            ones = torch.ones(self.flow.shapes[source][1])
            self.made[number] = self.out.second(number, node.name, before.value, ones, torch.zeros_like(ones))
            return Sum(values=[self.made[number]])
        before.relu = True
        return before

    def _add(self, node: Node) -> Sum | None:
        a, b = node.inputs[:2]
        if self.flow.shapes.get(a) != self.flow.shapes.get(b):
            return None
        if a == b:
            return Sum(values=[self.value(a)] * 2)
        return self._open(a).plus(self._open(b))

    def _upsample(self, number: int, node: Node, op: ops.Upsample) -> Sum | None:
        small, large = (self.flow.shapes[n][2:] for n in (node.inputs[0], number))
        factor = next((f for f in FACTORS if (small[0] * f, small[1] * f) == large), None)
        reader = self.flow.reader(number)
        if op.mode != "nearest" or factor is None or reader is None:
            return None
        added = self.flow.nodes[reader]
        shapes = [self.flow.shapes.get(n) for n in added.inputs]
        if not isinstance(added.op, ops.Add) or shapes[0] != shapes[1]:
            return None
        low = self._sum(node.inputs[0])
        if low.raised or not low.products or any(p.phases > 1 for p in low.products):
            if low.value is None:
                self.pending[node.inputs[0]] = low
            low = Sum(values=[self.value(node.inputs[0])])
        return Sum(raised=[Raised(low, factor, not op.like)])

    def _pool(self, number: int, node: Node, op: ops.Pool) -> Sum | None:
        if op != ops.Pool("max", (2, 2), (2, 2)):
            return None
        x = self.value(node.inputs[0])
        output = self.out.new_value()
        self.out.add(number, PoolCall(node.name, output, x))
        return Sum(values=[output])

    def _concat(self, number: int, node: Node, op: ops.Concat) -> Sum:
        parts = [Ref(self.value(part)) for part in node.inputs]
        call = CapturedCall("function", concatenated, (parts, op.dim))
        like = parts[0].value if op.dim == 1 else None
        return Sum(values=[self.out.torch(number, node.name, call, "concatenation", like)])

    def _by_torch(self, number: int, node: Node) -> Value:
        """Return the node as it stands; parameters are copies."""
        call, read = node.call, set(node.inputs)
        for source in read:
            if not isinstance(self.flow.nodes[source].op, ops.Stored):
                self.value(source)

        def change(item: Any) -> Any:
            if not isinstance(item, Ref):
                return False  # the mode of a module: evaluation
            if item.value in self.made:
                return Ref(self.made[item.value])
            found = tensor_at(self.module, self.captured.constants, str(self.flow.nodes[item.value].call.target))
            return None if found is None else found.detach().clone()

        call = CapturedCall(call.kind, call.target, replaced(call.args, change), replaced(call.kwargs, change))
        module = None
        if call.kind == "module":
            module = copy.deepcopy(self.module.get_submodule(str(call.target))).eval().requires_grad_(False)
        call, aside = _not_in_place(call, module)
        written = () if aside else self.flow.written.get(number, ())
        written = tuple(self.made[value] for value in written if value in self.made)
        return self._add_torch(number, node, TorchCall(node.name, 0, call, module, _what(node.op), written))

    def _add_torch(self, number: int, node: Node, call: TorchCall) -> Value:
        """Describe a call, with all that is known of its sizes."""
        if isinstance(node.op, (ops.Conv, ops.Deconv)):
            call.weights = self._find(node.op.weight).numel()
        if node.inputs and node.inputs[0] in self.made:
            call.like, call.stride = self._like(number, node)
        call.output = self.out.new_value()
        return self.out.add(number, call)

    def _folded(self, number: int, node: Node) -> bool:
        """Whether a convolution that torch runs takes the BatchNorm behind it along; then both are made."""
        op, reader = node.op, self.flow.reader(number)
        norm = None if reader is None else self.flow.nodes[reader].op
        if not isinstance(op, ops.Conv) or not isinstance(norm, ops.Norm) or op.padding_mode != "zeros":
            return False
        if norm.kind != "batch" or not norm.uses_statistics:
            return False
        assert reader is not None
        weight, bias = weight_and_bias(op, self._find, len(self._find(op.weight)))
        scale, shift = batch_norm_affine(norm, self._find)
        weight, bias = (weight * scale[:, None, None, None]).float(), (bias * scale + shift).float()
        settings = op.stride, op.padding, op.dilation, op.groups
        call = CapturedCall("function", F.conv2d, (Ref(self.value(node.inputs[0])), weight, bias, *settings))
        self.made[number] = self._add_torch(number, node, TorchCall(node.name, 0, call, None, f"{_what(op)} + BN"))
        self.made[reader] = self.made[number]
        return True

    def _like(self, number: int, node: Node) -> tuple[Value | None, int]:
        """Return the value whose height and width a node's result has, and how many times smaller it is."""
        op, value = node.op, self.made[node.inputs[0]]
        small, large = (self.flow.shapes.get(n, ())[2:] for n in (number, node.inputs[0]))
        if isinstance(op, (ops.Activation, ops.Norm, ops.Add)) or (isinstance(op, ops.Concat) and op.dim == 1):
            return (value, 1) if small == large else (None, 1)
        if isinstance(op, ops.Conv) and op.padding != "same" and op.stride[0] == op.stride[1]:
            sides = self._find(op.weight).shape[2:]
            reach = tuple(d * (side - 1) for d, side in zip(op.dilation, sides, strict=True))
            return (value, op.stride[0]) if (2 * op.padding[0], 2 * op.padding[1]) == reach else (None, 1)
        if isinstance(op, ops.Pool) and op.kind != "adaptive average" and not op.ceil_mode:
            same = op.kernel == (2 * op.padding[0] + 1, 2 * op.padding[1] + 1) and op.dilation == (1, 1)
            return (value, op.stride[0]) if same and op.stride[0] == op.stride[1] else (None, 1)
        return None, 1


def _not_in_place(call: CapturedCall, module: nn.Module | None) -> tuple[CapturedCall, bool]:
    """Lower a call that leaves its input as it is, where that is easy; returns whether it was."""
    if module is not None and getattr(module, "inplace", False) is True:
        module.inplace = False  # type: ignore[assignment]
        return call, not list(module.children())
    if call.kwargs.get("inplace") is True:
        return replace(call, kwargs={**call.kwargs, "inplace": False}), True
    plain_name = str(call.target).removesuffix("_")
    if call.kind == "method" and hasattr(Tensor, plain_name) and plain_name != "bernoulli":  # which is another function
        return replace(call, target=plain_name), True
    plain = {operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul}
    return (replace(call, target=plain[call.target]), True) if call.target in plain else (call, False)


def _what(op: ops.Op) -> str:
    if isinstance(op, ops.Opaque):
        return op.why
    if isinstance(op, (ops.Conv, ops.Deconv)):
        kind = "convolution" if isinstance(op, ops.Conv) else "transposed convolution"
        return f"{kind} in {op.groups} groups" if op.groups > 1 else kind
    kind = getattr(op, "kind", getattr(op, "mode", ""))
    return f"{kind} {type(op).__name__.lower()}".strip()
