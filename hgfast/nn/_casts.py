"""Parameters of convolutions in autocast's precision, and their gradients back: one launch for all of a program.

A program casts its parameters in each forward pass anew, within its own operation: whoever changes a parameter between
two passes, and by whatever way (an optimizer, `load_state_dict`, `.data`), is followed, and nobody has to be told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from hgfast._checks import PLAIN


def cast(
    tensors: Sequence[Tensor | None], dtypes: Sequence[torch.dtype | None], copies: Collection[int] = ()
) -> list[Tensor | None]:
    """Cast each tensor to its dtype and its memory format, without autograd.

    Those of that dtype are given back themselves, unless copies names their numbers. All others are written by one
    call, which CUDA makes one launch for each 64 of them.
    """
    found = list(tensors)
    others = [
        i
        for i, (tensor, dtype) in enumerate(zip(tensors, dtypes, strict=True))
        if tensor is not None and (tensor.dtype is not dtype or i in copies)
    ]
    given: list[Tensor] = [tensors[i] for i in others]  # type: ignore[misc]
    if all(type(tensor) in PLAIN for tensor in given):
        made = [torch.empty_like(tensors[i], dtype=dtypes[i]) for i in others]  # type: ignore[arg-type]
        if made:
            torch._foreach_copy_(made, given)
    else:  # subclasses know best how they are cast
        made = [tensors[i].to(dtypes[i]) for i in others]  # type: ignore[union-attr]
    for i, tensor in zip(others, made, strict=True):
        found[i] = tensor
    return found
