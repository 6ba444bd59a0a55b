"""Small constant tensors, kept on their device."""

from __future__ import annotations

from functools import lru_cache

import torch

_of_graphs: dict[tuple[object, ...], tuple[torch.Tensor, int | None]] = {}
"""What was asked for in a capture, which a CUDA graph may read for as long as the process lives."""


def constant(
    values: tuple[float, ...], device: torch.device, repeat: int = 1, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """``values``, ``repeat`` times over, as a tensor; not to be changed.

    The same tensor for the same arguments: making one on a GPU from Python's numbers waits until the GPU has done all
    that was asked of it before, and cannot be captured.
    """
    key = values, device, repeat, dtype
    if device.type != "cuda":
        return _made(*key)[0]
    found = _of_graphs.get(key) or _made(*key)
    if torch.cuda.is_current_stream_capturing():
        _of_graphs[key] = found
    elif (current := torch.cuda.current_stream(device)).cuda_stream != found[1]:
        found[0].record_stream(current)  # it may leave the cache while that stream still reads it
    return found[0]


@lru_cache(maxsize=64)
def _made(
    values: tuple[float, ...], device: torch.device, repeat: int, dtype: torch.dtype
) -> tuple[torch.Tensor, int | None]:
    """Make the tensor; with it comes the stream whose memory it is."""
    with torch.inference_mode(False):
        made = torch.tensor(values * repeat, dtype=dtype, device=device)
    return made, torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else None


def forget() -> None:
    """Let go of all of them: graphs that read one are not to be replayed any more."""
    _made.cache_clear()
    _of_graphs.clear()
