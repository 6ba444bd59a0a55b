"""Graphs that hgfast does not take: inductor's, or eager's where inductor cannot compile."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

log = logging.getLogger("hgfast")


def by_another(graph_module: fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """Return a graph as inductor runs it, or as it stands."""
    kind = next((value.device.type for value in example_inputs if isinstance(value, Tensor)), "cpu")
    if not inductor_compiles(kind):
        return graph_module.forward
    from torch._inductor.compile_fx import compile_fx

    return compile_fx(graph_module, list(example_inputs))  # type: ignore[arg-type, return-value]


@functools.cache
def inductor_compiles(kind: str) -> bool:
    """Whether inductor has what it needs for a kind of device; tried once, by a small graph.

    Its own errors come too late: a backward pass is compiled when it first runs.
    """
    try:
        with torch._guards.tracing(None), torch.inference_mode(False), torch.no_grad():
            from torch._inductor.compile_fx import compile_fx

            example = torch.ones(8, device=kind)
            compiled = compile_fx(fx.symbolic_trace(_small), [example])
            return bool((compiled(example)[0] == 2).all())  # type: ignore[operator, arg-type]
    except Exception as error:  # of a compiler, of its settings, of a missing package
        why = next(iter(str(error).splitlines()), "")
        log.warning("inductor does not compile for %s, eager runs instead: %s: %s", kind, type(error).__name__, why)
        return False


def _small(x: Tensor) -> tuple[Tensor]:
    return (torch.relu(x) + 1,)
