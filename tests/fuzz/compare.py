"""Results of good calls held against a reference in float64.

Arguments are normal numbers of size 1, so an error is measured against the size of the result or that of the arguments,
whichever is larger: a sum that happens to cancel is no fault. Bounds are those of tests/tolerances.py, widened, for a
wrong result is wrong by much, and few numbers spread further than the many of the tests of each op.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from tests.tolerances import TOLERANCES

WIDER = 20.0
HALF = {torch.float16: 2e-2, torch.bfloat16: 1e-1}


def bound(op: str, dtype: torch.dtype) -> float:
    """The allowed error of a result of this dtype."""
    if dtype in HALF:
        return HALF[dtype]
    return 1e-10 if dtype == torch.float64 else WIDER * TOLERANCES.get(op, TOLERANCES["default"])


def difference(out: torch.Tensor, reference: torch.Tensor, allowed: float, what: str = "result") -> str | None:
    """What is wrong with `out`, or None; equal infinities and NaN in the same places are right."""
    if out.shape != reference.shape:
        return f"{what}: shape {tuple(out.shape)}, expected {tuple(reference.shape)}"
    out, reference = out.detach().double(), reference.detach().double()
    same = (out == reference) | (out.isnan() & reference.isnan())
    zero = torch.zeros((), dtype=torch.float64)
    error = torch.where(same, zero, out - reference).norm().item()
    finite = torch.where(reference.isfinite(), reference, zero)
    size = finite.norm().item() + out.numel() ** 0.5
    return None if error <= allowed * size else f"{what}: differs by {error / size:.2g} (allowed {allowed:.1g})"


def wide(value: Any) -> Any:
    """A copy to compute the reference from: floating tensors in float64, with a gradient where there was one."""
    if isinstance(value, torch.Tensor):
        copy = value.detach().double() if value.is_floating_point() else value.detach()
        return copy.clone().requires_grad_(value.requires_grad)
    return [wide(item) for item in value] if isinstance(value, list) else value


def against(
    reference: Callable[..., Any],
    arguments: Mapping[str, Any],
    op: str,
    *,
    gradient: bool | float = True,
    keep: Callable[..., torch.Tensor] | None = None,
    changed: Sequence[str] = (),
) -> Callable[[Any], str | None]:
    """A check: the result is reference(**arguments), gradients too, and arguments are what they were before.

    Args:
        reference: takes the arguments by name, in float64.
        arguments: of the call, before it is made.
        op: of tests/tolerances.py.
        gradient: whether to compare gradients; a number is their allowed error in float32 (where a ReLU inside may
            switch over); half types' gradients are looked at for their shapes only.
        keep: gives from the arguments a factor for the gradient of the result, 0 where a ReLU may switch over.
        changed: arguments that the call changes.
    """
    copies = {name: wide(value) for name, value in arguments.items()}
    # of leaf tensors only: a view's clone would be dense, and the values are what matters
    before = {name: wide(value) for name, value in arguments.items() if name not in changed}

    def check(result: Any) -> str | None:
        expected = reference(**copies)
        outs, wanted = _list(result), _list(expected)
        if len(outs) != len(wanted):
            return f"{len(outs)} results, expected {len(wanted)}"
        for place, (out, want) in enumerate(zip(outs, wanted, strict=True)):
            complaint = difference(out, want, bound(op, out.dtype), f"result {place}")
            if complaint:
                return complaint
        for name, value in before.items():
            if not _equal(value, wide(arguments[name])):
                return f"{name} was changed"
        if gradient and any(isinstance(out, torch.Tensor) and out.requires_grad for out in outs):
            return _gradients(arguments, copies, outs, wanted, op, gradient, keep)
        return None

    return check


def _gradients(
    arguments: Mapping[str, Any],
    copies: Mapping[str, Any],
    outs: list[torch.Tensor],
    wanted: list[torch.Tensor],
    op: str,
    gradient: bool | float,
    keep: Callable[..., torch.Tensor] | None,
) -> str | None:
    names = [name for name, value in arguments.items() if getattr(value, "requires_grad", False)]
    mask = 1.0 if keep is None else keep(**copies).detach()
    seeds = [_seed(out, want, mask) if want.requires_grad else None for out, want in zip(outs, wanted, strict=True)]
    pairs = [(o, w, s) for o, w, s in zip(outs, wanted, seeds, strict=True) if s is not None and o.requires_grad]
    if not pairs or not names:
        return None
    ours = torch.autograd.grad(
        [o for o, _, _ in pairs], [arguments[n] for n in names], [s.to(o.dtype) for o, _, s in pairs], allow_unused=True
    )
    theirs = torch.autograd.grad(
        [w for _, w, _ in pairs], [copies[n] for n in names], [s for _, _, s in pairs], allow_unused=True
    )
    for name, own, other in zip(names, ours, theirs, strict=True):
        if (own is None) != (other is None):
            if other is not None and other.any():
                return f"no gradient of {name}"
            continue
        if own is None or other is None:
            continue
        if own.dtype != arguments[name].dtype:
            return f"gradient of {name} of {own.dtype}"
        allowed = bound(op, own.dtype) if gradient is True or own.dtype == torch.float64 else float(gradient)
        allowed = 1e9 if own.dtype in HALF else allowed
        complaint = difference(own, other, allowed, f"gradient of {name}")
        if complaint:
            return complaint
    return None


def _seed(out: Any, want: torch.Tensor, mask: torch.Tensor | float) -> torch.Tensor:
    """A gradient of the result that its dtype holds exactly."""
    seed = torch.randn_like(want) * mask
    return seed.to(out.dtype).double()


def _list(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return True
