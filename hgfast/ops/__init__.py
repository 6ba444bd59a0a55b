"""hgfast's operators: plain functions on tensors, each one kernel on CPU and CUDA."""

from hgfast.ops._registry import explain
from hgfast.ops.upsample_add import upsample_add

__all__ = ["explain", "upsample_add"]
