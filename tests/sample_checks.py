"""Holds one sample call of an op (op_samples.py) on any device against the float64 reference on the CPU.

Used by test_cuda_runtime.py, and op by op in processes of their own by `python -m benchmarks.device`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

import hgfast  # noqa: F401  (registers the ops)
from hgfast.ops._registry import OPS
from tests.op_samples import SAMPLES
from tests.tolerances import allowed_error, relative_error

Args = tuple[Any, ...]


def map_tensors(function: Any, value: Any) -> Any:
    """value with function applied to every tensor in it (lists and tuples of tensors included)."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(function, item) for item in value)
    return value


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in a value, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []


def sample(name: str, index: int) -> Args:
    """A sample's arguments on the CPU: the same numbers in every process, no gradient asked for."""
    torch.manual_seed(index)
    return map_tensors(torch.Tensor.detach, SAMPLES[name]("cpu")[index])


def moved(args: Args, device: str) -> Args:
    """Copies of the arguments on a device, in their memory format."""
    return map_tensors(lambda tensor: tensor.clone().to(device), args)


def in_float64(args: Args) -> Args:
    """Copies of the arguments with every floating tensor in float64."""
    return map_tensors(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor.clone(), args)


def overload(name: str) -> torch._ops.OpOverload:
    """The registered operator."""
    return getattr(torch.ops.hgfast, name).default


def results(name: str, function: Any, args: Args) -> list[torch.Tensor]:
    """What a call returns, then the arguments that the op writes to."""
    returned = function(*args)
    written = [
        value
        for value, formal in zip(args, overload(name)._schema.arguments, strict=False)
        if formal.alias_info is not None and formal.alias_info.is_write
    ]
    return tensors_in(returned) + tensors_in(written)


def call_op(name: str, args: Args) -> list[torch.Tensor]:
    """The results of the registered op."""
    return results(name, overload(name), args)


def list_samples() -> list[dict[str, Any]]:
    """{op, sample, dtype} of every sample; dtype is that of its first floating tensor."""
    return [
        {"op": name, "sample": index, "dtype": dtype_of(args)}
        for name in sorted(SAMPLES)
        for index, args in enumerate(SAMPLES[name]("cpu"))
    ]


def dtype_of(args: Args) -> str:
    """Name of the dtype of the first floating tensor."""
    kinds = [tensor.dtype for tensor in tensors_in(args) if tensor.is_floating_point()]
    return str(kinds[0]).removeprefix("torch.") if kinds else "none"


@contextmanager
def strict() -> Iterator[None]:
    """Uninitialised memory is NaN, so that an element nobody writes shows; float32 products keep float32 operands."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def worst(name: str, ours: Sequence[torch.Tensor], exact: Sequence[torch.Tensor], same: Sequence[torch.Tensor]) -> Any:
    """(error, bound) of the result that comes nearest to its bound or goes beyond it most; integers must be equal."""
    assert len(ours) == len(exact), f"{name} gives {len(ours)} results, its reference {len(exact)}"
    pairs = [(0.0, 0.0)]
    for out, reference64, same_dtype in zip(ours, exact, same, strict=True):
        bound = allowed_error(name, out.dtype, reference64, same_dtype) if out.is_floating_point() else 0.0
        pairs.append((relative_error(out, reference64), bound))
    return max(pairs, key=lambda pair: (pair[0] > pair[1], pair[0] / max(pair[1], 1e-30)))


def check_sample(device: str, op: str, sample_index: int) -> dict[str, Any]:
    """Call an op on a device and compare.

    Returns:
        {"way": "kernel" or "reference", "error", "bound", "status": "ok" or "wrong", "note": why no kernel}.
    """
    args = sample(op, sample_index)
    reason = OPS[op].fallback_reason(device, moved(args, device))
    with torch.no_grad(), strict():
        ours = call_op(op, moved(args, device))
        same = results(op, OPS[op].reference, moved(args, device))
        exact = results(op, OPS[op].reference, in_float64(copy.deepcopy(args)))
    error, bound = worst(op, ours, exact, same)
    return {
        "way": "reference" if reason else "kernel",
        "error": error,
        "bound": bound,
        "status": "ok" if error <= bound else "wrong",
        "note": reason or "",
    }
