"""BatchNorm with a residual sum and ReLU as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from hgfast import _checks
from hgfast.nn._program import NORM_ALONE
from hgfast.nn._tape import run
from hgfast.ops.batch_norm_act import LARGEST_MOMENTUM, check

__all__ = ["BatchNormAct"]


class BatchNormAct(_NormBase):
    """``relu(batch_norm(x) + residual)``: ``nn.BatchNorm2d`` and what follows it in a residual block, as one operation.

    Parameters, buffers, keys and statistics are those of ``nn.BatchNorm2d`` (``momentum=None`` and absent running
    statistics too). For the gradient it keeps x and, where there is one, the residual.
    ``torch.nn.SyncBatchNorm.convert_sync_batchnorm`` leaves it alone (it would lose the ReLU);
    :func:`hgfast.nn.convert_sync_batchnorm` makes it synchronise.

    Args:
        num_features: channels C of the input (N, C, H, W).
        eps, momentum, affine, track_running_stats: see ``nn.BatchNorm2d``.
        relu: whether negative results become 0.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        relu: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        where = type(self).__name__
        num_features = _checks.integer(where, "num_features", num_features, 1)
        eps = _checks.number(where, "eps", eps)
        if momentum is not None:
            momentum = _checks.number(where, "momentum", momentum, -LARGEST_MOMENTUM, LARGEST_MOMENTUM)
        flags = {"affine": affine, "track_running_stats": track_running_stats, "relu": relu}
        affine, track_running_stats, relu = (_checks.flag(where, name, value) for name, value in flags.items())
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        self.relu = relu
        self.synchronised = False
        self.process_group: Any = None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map x (N, C, H, W), and a residual like it, to (N, C, H, W).

        Raises:
            TypeError: dtypes do not fit.
            ValueError: shapes or devices do not fit; one value per channel in training.
        """
        check(x, self.weight, self.bias, self.running_mean, self.running_var, residual)
        inputs = [x] if residual is None else [x, residual]
        return run(NORM_ALONE[len(inputs), self.relu], inputs, norms=[self])

    def extra_repr(self) -> str:
        """Return the arguments for ``repr``."""
        return f"{super().extra_repr()}, relu={self.relu}"
