"""`torch.compile(model, backend="hgfast")`: inference in hgfast's kernels, all else by inductor."""

from hgfast.dynamo.entry import backend

__all__ = ["backend"]
