"""Small constant tensors, kept on their device."""

from __future__ import annotations

from functools import lru_cache

import torch


@lru_cache(maxsize=64)
def constant(
    values: tuple[float, ...], device: torch.device, repeat: int = 1, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """``values``, ``repeat`` times over, as a tensor; not to be changed.

    The same tensor for the same arguments: making one on a GPU from Python's numbers waits until the GPU has done all
    that was asked of it before.
    """
    with torch.inference_mode(False):
        return torch.tensor(values * repeat, dtype=dtype, device=device)
