"""Turns one Python function into a torch operator for every device.

`define` registers `torch.ops.hgfast.<name>`. `kernel(lib, *args)` allocates the outputs and calls the native function
of `lib`, the module of the tensors' device: the same code serves CPU and CUDA. Where there is no library, or `supports`
names a reason why the kernel does not take these arguments, `reference(*args)` gives the same result with torch's own
operators; `explain` tells which way a call goes. Gradients are registered with `register_autograd`, their backward
being ops of the same kind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hgfast import _native
from hgfast._checks import PLAIN
from hgfast._switches import is_disabled

log = logging.getLogger("hgfast")
LIBRARY = torch.library.Library("hgfast", "DEF")


@dataclass(frozen=True)
class Op:
    """One registered operator: its schema and the functions behind it (see `define`)."""

    name: str
    kernel: Callable[..., Any]
    reference: Callable[..., Any]
    supports: Callable[..., str | None]
    check: Callable[..., object]
    native: str

    def fallback_reason(self, device_type: str, args: Sequence[Any]) -> str | None:
        """Why a call with these arguments does not reach the kernel; None if it does."""
        if is_disabled(self.name):
            return f"HGFAST_DISABLE names {self.name}"
        library = _native.library(device_type)
        if library is None:
            return f"no {device_type} kernels: {_native.cuda_missing_reason() or 'unsupported device'}"
        return self.supports(*args)

    def run_checked(self, device_type: str, args: Sequence[Any]) -> Any:
        """Do as `run`, for arguments that anybody may have made up."""
        self.check(*args)
        return self.run(device_type, args)

    def run(self, device_type: str, args: Sequence[Any]) -> Any:
        """Call the kernel or the reference."""
        reason = self.fallback_reason(device_type, args)
        if reason is None:
            return self.kernel(_native.library(device_type), *args)
        log.debug("%s: reference expression used: %s", self.name, reason)
        return self.reference(*args)


OPS: dict[str, Op] = {}


def _first_tensor(args: Sequence[Any]) -> torch.Tensor:
    for arg in args:
        if isinstance(arg, torch.Tensor):
            return arg
        if isinstance(arg, (list, tuple)) and arg and isinstance(arg[0], torch.Tensor):
            return arg[0]
    raise TypeError("an hgfast op needs at least one tensor argument")


def _cuda_impl(op: Op) -> Callable[..., Any]:
    def impl(*args: Any) -> Any:
        device = _first_tensor(args).get_device()
        if device == torch.cuda.current_device():
            return op.run_checked("cuda", args)
        with torch.cuda.device(device):
            return op.run_checked("cuda", args)

    return impl


def _on_one_device(operator: Any, fake: Callable[..., Any]) -> Callable[..., Any]:
    """`fake`, which torch also calls where some tensors have data and others, on the meta device, have none."""

    def checked(*args: Any) -> Any:
        if len({arg.device for arg in args if isinstance(arg, torch.Tensor)}) > 1:
            schema = operator._schema
            named = zip((parameter.name for parameter in schema.arguments), args, strict=True)
            places = [f"{name} on {arg.device}" for name, arg in named if isinstance(arg, torch.Tensor)]
            op = schema.name.removeprefix("hgfast::")
            raise ValueError(f"{op}: tensors must be on one device, got {', '.join(places)}")
        return fake(*args)

    return checked


def define(
    schema: str,
    *,
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    check: Callable[..., object],
    supports: Callable[..., str | None] = lambda *args: None,
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    native: str | None = None,
) -> Any:
    """Register an operator.

    Args:
        schema: torch schema, e.g. "upsample_add(Tensor skip, Tensor low) -> Tensor".
        kernel: kernel(lib, *args) -> outputs; args as the schema orders them, already checked.
        reference: the same result from torch operators.
        fake: shapes, dtypes and memory formats of the outputs without data (`torch.library.register_fake`).
        check: check(*args) raises TypeError or ValueError, naming an argument of the schema, unless all fit each other;
            called where the operator is, but not by `below_autograd`.
        supports: supports(*args) -> None, or the reason why `kernel` does not take these arguments.
        setup_context, backward: as `torch.library.register_autograd` wants them.
        native: name of the function in the extension module, where it is not the op's.

    Returns:
        The operator's default overload, to be called with positional arguments.
    """
    name = schema.split("(", 1)[0]
    op = OPS[name] = Op(name, kernel, reference, supports, check, native or name)
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, lambda *args: op.run_checked("cpu", args), "CPU")
    LIBRARY.impl(name, _cuda_impl(op), "CUDA")
    operator = getattr(torch.ops.hgfast, name).default
    torch.library.register_fake(f"hgfast::{name}", _on_one_device(operator, fake), lib=LIBRARY)
    if backward is not None:
        torch.library.register_autograd(f"hgfast::{name}", backward, setup_context=setup_context, lib=LIBRARY)
    return operator


def is_recorded() -> bool:
    """Whether operators are being compiled, traced or transformed, so that no shorter way may be taken around them."""
    compiled = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return compiled or torch._C._are_functorch_transforms_active()


def below_autograd(operator: Any) -> Callable[..., Any]:
    """Return an operator of `define` for where no gradient is recorded, as in an autograd.Function.

    Of the 25 us and more that torch spends on the way to an operator in Python, plain CPU tensors are spared most: its
    kernel is called at once unless somebody is watching (a profiler, a mode, a trace).
    """
    op = OPS[operator.name().removeprefix("hgfast::")]

    def call(*args: Any) -> Any:
        first = args[0]
        plain = type(first) in PLAIN and first.is_cpu and not torch.is_grad_enabled()
        watched = torch._C._len_torch_dispatch_stack() or torch._C._autograd._profiler_enabled() or is_recorded()
        if not plain or watched:
            return operator(*args)
        for arg in args:  # the dispatcher makes numbers of views that only stand for the negative of others
            if type(arg) in PLAIN and arg.is_neg():
                return operator(*args)
        return op.run("cpu", args)

    return call


def autograd_function(
    operator: Any, setup_context: Callable[..., None], backward: Callable[..., Any]
) -> type[torch.autograd.Function]:
    """Return an operator of `define` with its gradient, faster than the registered one; not where `is_recorded`."""
    now = below_autograd(operator)

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = now(*inputs)
        setup_context(ctx, inputs, output)
        return output

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(operator.name(), (torch.autograd.Function,), methods)


def explain(name: str, *args: Any) -> str:
    """Say which way a call of `torch.ops.hgfast.<name>(*args)` goes: "kernel: cpu", or "reference: <why>".

    Raises:
        TypeError: no name.
        KeyError: no op of that name.
    """
    if not isinstance(name, str):
        raise TypeError(f"explain: name must be a str, got {type(name).__name__}")
    if name not in OPS:
        raise KeyError(f"explain: no hgfast op {name!r:.80}; there are {', '.join(sorted(OPS))}")
    device_type = _first_tensor(args).device.type
    reason = OPS[name].fallback_reason(device_type, args)
    return f"kernel: {device_type}" if reason is None else f"reference: {reason}"
