"""Programs of torch.export as captured graphs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.utils._pytree import tree_unflatten

from hgfast.graph.aten import as_torch, trains
from hgfast.graph.captured import CapturedGraph
from hgfast.graph.convert import convert
from hgfast.graph.interpret import Interpreter

HELD = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


@dataclass
class Exported:
    """A program.

    Attributes:
        module: has its parameters under their own names, and computes what it computes.
        graph: the same as a captured graph.
        example: the arguments by name that it was exported with; None if it does not know them.
        sizes: of each tensor among the arguments, by its node: the least and the largest of each dimension.
    """

    module: nn.Module
    graph: CapturedGraph
    example: dict[str, Any] | None
    sizes: dict[int, list[tuple[int, int]]]


def exported(program: ExportedProgram) -> Exported:
    """Return the graph of a program of torch.export, for evaluation.

    Raises:
        ValueError: it trains, or writes into its buffers or inputs, or takes other things than tensors and constants.
    """
    held = _checked(program)
    graph, env, root = fx.Graph(), dict[fx.Node, Any](), nn.Module()
    inputs: list[Any] = []  # the leaves of the arguments

    def now(item: Any) -> Any:
        return env[item] if _is_node(item) else item

    for node, spec in zip(program.graph.nodes, program.graph_signature.input_specs, strict=False):
        if spec.kind in HELD:
            _hold(root, str(spec.target), held[str(spec.target)])
            env[node] = graph.get_attr(str(spec.target))
        else:
            constant = isinstance(spec.arg, ConstantArgument)
            env[node] = spec.arg.value if constant else graph.placeholder(node.name)
            inputs.append(env[node])
    for node in list(program.graph.nodes)[len(program.graph_signature.input_specs) :]:
        args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), now)  # type: ignore[misc]
        if node.op == "output":
            args, kwargs = (tree_unflatten(list(args[0]), program.call_spec.out_spec),), {}
            graph.output(args[0])
        else:
            env[node] = graph.create_node(*as_torch(node, args, kwargs), name=node.name)
            env[node].meta["stack"] = node.meta.get("nn_module_stack") or {}
    for node in graph.nodes:
        node.meta["scope"] = next((path for path, _ in reversed(node.meta.get("stack", {}).values())), "")
    given, names = _arguments(program, inputs)
    captured = convert(root, graph, given, [], {})
    captured.training = False
    example = None if program.example_inputs is None else dict(zip(names, _flat(*program.example_inputs), strict=True))
    keywords = program.call_spec.in_spec.child(1).num_children
    return Exported(_as_module(root, captured, names, keywords), captured, example, _sizes(program, captured, env))


def _is_node(item: Any) -> bool:
    return isinstance(item, fx.Node)


def _checked(program: ExportedProgram) -> dict[str, Any]:
    """Return parameters, buffers and constants by name."""
    signature = program.graph_signature
    if any(spec.kind != OutputKind.USER_OUTPUT for spec in signature.output_specs):
        raise ValueError("the exported program writes into its buffers or inputs; export the model in evaluation mode")
    if any(trains(node) for node in program.graph.nodes):
        raise ValueError("the exported program is for training; export the model in evaluation mode")
    for spec in signature.input_specs:
        if spec.kind not in (*HELD, InputKind.USER_INPUT):
            raise ValueError(f"the exported program takes a {spec.kind.name.lower()}, which is no tensor")
    return {**program.state_dict, **program.constants}


def _hold(root: nn.Module, path: str, tensor: Any) -> None:
    *above, name = path.split(".")
    for part in above:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    if isinstance(tensor, nn.Parameter):
        root.register_parameter(name, tensor)
    else:
        root.register_buffer(name, tensor)


def _flat(args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    return [*args, *kwargs.values()]


def _arguments(program: ExportedProgram, inputs: list[Any]) -> tuple[dict[str, Any], list[str]]:
    """Structures of the arguments by name, and the names."""
    args, kwargs = tree_unflatten(inputs, program.call_spec.in_spec)
    known = program.module_call_graph[0].signature
    names = list(getattr(known, "forward_arg_names", None) or ())
    if len(names) != len(args) + len(kwargs):
        names = [*(f"argument_{i}" for i in range(len(args))), *kwargs]
    return dict(zip(names, _flat(args, kwargs), strict=True)), names


def _as_module(root: nn.Module, captured: CapturedGraph, names: list[str], keywords: int) -> nn.Module:
    """Make an instance of a class of its own of the root, whose forward has the arguments' names."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return Interpreter(self, captured)(*args, **kwargs)

    either, by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    kinds = [either] * (len(names) - keywords) + [by_name] * keywords
    parameters = [inspect.Parameter(name, kind) for name, kind in zip(("self", *names), (either, *kinds), strict=True)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    root.__class__ = type("ExportedProgram", (nn.Module,), {"forward": forward})
    return root.eval()


def _sizes(
    program: ExportedProgram, captured: CapturedGraph, env: dict[fx.Node, Any]
) -> dict[int, list[tuple[int, int]]]:
    """Return the bounds of the inputs' sizes, by their numbers in the graph."""
    numbers = iter(i for i, node in enumerate(captured.nodes) if node.call.kind == "input")
    found: dict[int, list[tuple[int, int]]] = {}
    for node, made in env.items():
        if _is_node(made) and made.op == "placeholder":
            found[next(numbers)] = [_range(program, size) for size in node.meta["val"].shape]
    return found


def _range(program: ExportedProgram, size: Any) -> tuple[int, int]:
    """Return the least and the largest that a size may be."""
    largest = 1 << 62
    if not isinstance(size, torch.SymInt):
        return int(size), int(size)
    limits = program.range_constraints.get(size.node.expr)
    if limits is None:
        return 0, largest
    return max(int(limits.lower), 0), int(limits.upper) if limits.upper < largest else largest
