"""One attempt to trace a network by torch.fx, which stops where a replay would not be exact."""

from __future__ import annotations

import inspect
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.fx.proxy import TraceError
from torch.utils._pytree import tree_map

from hgfast.graph import leaves, source
from hgfast.graph.captured import Stop
from hgfast.graph.proxy import OWN, Stand
from hgfast.graph.skeleton import Flag, changed, class_attributes, contents, restored

ASKING = {"is_grad_enabled", "is_inference_mode_enabled", "is_autocast_enabled", "get_autocast_dtype", "autocast"}
_lock = threading.RLock()  # a trace replaces nn.Module.__call__ for a while


@dataclass
class TracedCall:
    """A module's call that was looked into: what it was given and gave.

    first, last: the nodes that it made are those from first to last - 1.
    parent: number of the call around it; None for the network.
    """

    path: str
    parent: int | None
    first: int
    args: Any
    kwargs: Any
    result: Any = None
    last: int = 0


class Stopped(Exception):
    """A module cannot be traced through."""

    def __init__(self, path: str, stop: Stop) -> None:
        super().__init__(str(stop))
        self.path, self.stop = path, stop


class Tracer(fx.Tracer):
    """Traces the double of a network (hgfast.graph.skeleton)."""

    proxy_buffer_attributes = True

    def __init__(self, example: Any, stops: dict[str, Stop], gradients: bool = True) -> None:
        """Prepare the trace; example: arguments for forward, or None; stops: modules that are leaves by now.

        gradients: whether the code may not switch gradients.
        """
        super().__init__(autowrap_modules=())  # type: ignore[arg-type]
        self.example, self.stops, self.gradients = example, stops, gradients
        self.inputs: dict[str, Any] = {}
        self.active: list[str] = []  # paths of the modules that are being traced, innermost last
        self.calls: list[TracedCall] = []  # of modules that are looked into, outer ones first
        self.inside: list[int] = []  # numbers of the calls that have begun, innermost last
        self.paths: dict[nn.Module, str] = {}
        self.thread, self.modes = threading.get_ident(), _modes(gradients)

    def trace_network(self, double: nn.Module) -> fx.Graph:
        """Return the graph.

        Raises:
            Stopped: a module cannot be traced through; the innermost one.
        """
        self.paths = {part: path for path, part in double.named_modules()}
        before, classes, self.active = contents(double), class_attributes(double), [""]
        with _lock:
            try:
                graph = self.trace(double)
            except Exception as error:  # whatever the module's code raises when it is given stand-ins
                list(restored(classes))
                raise Stopped(self.active[-1], Stop(_message(error), line_in(error))) from error
        for kind, name in list(restored(classes)):
            path = next(path for part, path in self.paths.items() if isinstance(part, kind))
            raise Stopped(path, Stop(f"its forward changes its class's attribute {name}"))
        for path, name in changed(double, before):
            raise Stopped(path, Stop(f"its forward changes its attribute {name}"))
        return graph

    def proxy(self, node: fx.Node) -> Stand:
        """Return what stands for a node's value."""
        return Stand(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of the module is one node."""
        return module_qualified_name in self.stops or leaves.is_leaf(m)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return the value of a module's call.

        Raises:
            TraceError: the module is no part of the network.
        """
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        path = self.paths.get(m)
        if path is None:
            raise TraceError(f"it calls a {type(m).__name__} that is no part of the network")
        if path not in self.stops and not leaves.is_leaf(m):
            reason = boundary(m)
            if reason:
                self.stops[path] = Stop(reason)
        if self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        self.active.append(path)
        given = _as_it_is(args), _as_it_is(kwargs)
        call = TracedCall(path, self.inside[-1] if self.inside else None, len(self.graph.nodes), *given)
        self.inside.append(len(self.calls))
        self.calls.append(call)
        result = forward(*args, **kwargs)
        call.result, call.last = _as_it_is(result), len(self.graph.nodes)
        self.inside.pop()
        self.active.pop()
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """Return what the code of a module finds as its attribute."""
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_arg(self, a: Any) -> Any:
        """Return what a node keeps of an argument."""
        if isinstance(a, fx.Proxy):
            return a.node
        if isinstance(a, Flag):
            return a
        return super().create_arg(a)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        """Make a node, which knows in whose forward it was made.

        Raises:
            TraceError: what torch has switched on or off is not as it was when the trace began.
        """
        if _modes(self.gradients) != self.modes:
            raise TraceError("it switches gradients, autocast or checkpointing on or off")
        node = super().create_node(kind, *args, **kwargs)
        node.meta["scope"], node.meta["tensor"] = self.active[-1], leaves.gives_tensor(self.root, node)
        return node

    def create_args_for_root(self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None) -> Any:
        """Return the function to trace, and its arguments."""

        def placeholder(name: str, leaf: Any) -> Any:
            return self.create_proxy("placeholder", name, (), {}) if isinstance(leaf, Tensor) else leaf

        given = example_of(root_fn, self.example)
        self.inputs = {name: tree_map(partial(placeholder, name), part) for name, part in given.items()}
        args, kwargs = as_call(root_fn, self.inputs)
        return (lambda root: root_fn(root, *args, **kwargs)), [self.root]


def _as_it_is(structure: Any) -> Any:
    """Return a copy of containers that a module's code may change later, with the nodes of what stands in them."""
    copied = map_aggregate(structure, lambda item: item.node if isinstance(item, fx.Proxy) else item)
    return copied.node if isinstance(copied, fx.Proxy) else copied


def forward_of(module: nn.Module) -> Callable[..., Any]:
    """Return the forward of the module's own class, whatever `fuse` has made of it."""
    forward: Callable[..., Any] = getattr(module, "_hgfast_plain", type(module)).forward
    return forward


def example_of(forward: Callable[..., Any], example: Any) -> dict[str, Any]:
    """Return the arguments of a forward by name: the example's, or a tensor for each that has no default."""
    signature = inspect.signature(forward)
    if example is None:
        fixed = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
        needed = [p for p in list(signature.parameters.values())[1:] if p.default is inspect.Parameter.empty]
        found: dict[str, Any] = {p.name: torch.empty(0) for p in needed if p.kind in fixed}
        return found or {p.name: (torch.empty(0),) for p in needed if p.kind is p.VAR_POSITIONAL}
    args, kwargs = (example, {}) if isinstance(example, tuple) else ((), example)
    return dict(list(signature.bind(None, *args, **kwargs).arguments.items())[1:])


def as_call(forward: Callable[..., Any], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments that give a module's forward these ones."""
    bound = inspect.signature(forward).bind_partial(None)
    bound.arguments.update(given)
    return bound.args[1:], bound.kwargs


def boundary(module: nn.Module) -> str | None:
    """Why a module's code is not looked into."""
    hooks = leaves.other_hooks(module)
    if hooks:
        return hooks
    asked = sorted(source.names(type(module)) & ASKING)  # type: ignore[arg-type]
    return f"its forward asks for {asked[0]}" if asked else source.side_effect(type(module))  # type: ignore[arg-type]


def _modes(gradients: bool) -> tuple[Any, ...]:
    """Yield what a module's code can switch on and off around calls of torch's, checkpointing among it."""
    autocast = tuple(map(torch.is_autocast_enabled, ("cpu", "cuda")))
    if not gradients:
        return autocast
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), hooks, *autocast


def _message(error: Exception) -> str:
    if isinstance(error, TraceError) and "control flow" in str(error):
        return "its forward decides by what depends on data or sizes"
    text = str(error).splitlines()[0] if str(error) else ""
    return text if isinstance(error, TraceError) else f"{type(error).__name__}: {text}"


def line_in(error: BaseException) -> str:
    """Return the innermost line of code that is neither torch's nor hgfast's."""
    found = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] not in OWN:
            found = f"{frame.f_code.co_filename}:{number}"
    return found
