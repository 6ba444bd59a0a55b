"""What a frozen network's dtype means on the CPU: what is stored in it, and whether it pays."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from hgfast import _native
from hgfast.frozen.coded_weights import multiplies_int8
from hgfast.ops._conv_native import multiplies_bfloat16

if TYPE_CHECKING:
    from hgfast._library import Library

log = logging.getLogger("hgfast")
TILES = "amx_bf16"  # the instruction set in whose tiles bfloat16 is multiplied


def numbers_beside(dtype: torch.dtype) -> torch.dtype:
    """Return what activations are stored in that are not in int8: the dtype itself; beside int8 bfloat16 on a CPU that
    computes in it, else float32."""
    if dtype != torch.int8:
        return dtype
    return torch.bfloat16 if multiplies_bfloat16(_native.library("cpu")) else torch.float32


def tell_if_slow(dtype: torch.dtype, device: torch.device, lib: Library | None) -> None:
    """Warn where float32 is no slower on this CPU."""
    if device.type != "cpu" or lib is None:
        return
    if dtype == torch.int8 and not multiplies_int8(lib):
        log.warning("this CPU has no AVX512_VNNI: frozen networks may be slower in int8 than in float32")
    if dtype == torch.int8 and lib.backend_info()["isa"] == TILES:
        log.warning(
            "on this CPU frozen networks are faster in bfloat16, by AMX, than in int8, which does not use it yet"
        )
    if dtype == torch.bfloat16 and not multiplies_bfloat16(lib):
        log.warning("this CPU has no AVX512_BF16: frozen networks are not faster in bfloat16 than in float32")


def as_results(outputs: list[Any], dtype: torch.dtype) -> list[Any]:
    """Return a network's outputs; those of one in int8 in float32."""
    if dtype != torch.int8:
        return outputs
    return tree_map_only(Tensor, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor, outputs)
