"""Pure-PyTorch twins of every op and the reference networks: the oracle, written to be read."""

from hgfast.reference.upsample_add import upsample_add, upsample_add_backward

__all__ = ["upsample_add", "upsample_add_backward"]
