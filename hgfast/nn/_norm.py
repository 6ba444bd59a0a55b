"""BatchNorm modules as the fused blocks use them: which statistics, how the running ones move, over which processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hgfast.ops import _batch_norm_ops
from hgfast.ops._batch_norm_checks import GATE_NONE, GATE_RECOMPUTE, check_apply
from hgfast.ops._batch_norm_native import stat_dtype
from hgfast.ops.batch_norm_act import batch_norm_act, check_batch
from hgfast.reference.batch_norm_act import Running, move_running


class Scope(NamedTuple):
    """How a batch is normalised: values per channel (over all processes), by whose statistics, over which processes.

    The values of several processes are a number on their device, which the host does not wait for.
    """

    values: float | Tensor
    of_batch: bool
    group: Any
    eps: float


class Normaliser(NamedTuple):
    """A BatchNorm with the statistics of one forward pass: mean and biased variance (C,), weight and bias or None."""

    mean: Tensor
    var: Tensor
    weight: Tensor | None
    bias: Tensor | None
    scope: Scope

    @property
    def centres(self) -> bool:
        """Whether gradients of x sum to nothing in each channel: the statistics are those of x alone."""
        return self.scope.of_batch and self.scope.group is None

    def apply(self, x: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
        """relu(bn(x) + residual)."""
        return _batch_norm_ops.apply_now(x, *self[:4], residual, relu, self.scope.eps, False)[0]

    def backward(
        self, grad: Tensor, x: Tensor, residual: Tensor | None, addend: Tensor | None, relu: bool, want_residual: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
        """Compute gradients of x (plus addend), weight, bias and residual, whose value is needed behind a ReLU."""
        values, of_batch, group, eps = self.scope
        gate = GATE_RECOMPUTE if relu else GATE_NONE
        want_masked = relu and want_residual
        common = (*self[:4], eps)
        reduced = _batch_norm_ops.backward_reduce_now(grad, None, x, residual, None, *common, gate, want_masked)
        masked, weight_grad, bias_grad = reduced
        if want_masked:
            grad, residual, gate = masked, None, GATE_NONE
        sums: tuple[Tensor, ...] = (weight_grad, bias_grad)
        if group is not None:
            total = torch.cat(sums)
            dist.all_reduce(total, group=group)
            sums, values = (total / values).chunk(2), 1.0  # the kernel divides by a number of the host's
        arguments = (x, residual, None, *common, gate)
        x_grad = _batch_norm_ops.backward_apply_now(grad, None, *arguments, *sums, addend, values, of_batch)
        affine = ((self.weight, weight_grad), (self.bias, bias_grad))
        return x_grad, *(None if value is None else of_it.to(value.dtype) for value, of_it in affine), grad


class NormState:
    """One use of a BatchNorm in a forward pass: its parameters and settings at that time."""

    def __init__(self, bn: Any) -> None:
        """bn: BatchNorm2d, SyncBatchNorm or BatchNormAct."""
        self.bn = bn
        self.weight: Tensor | None = bn.weight
        self.bias: Tensor | None = bn.bias
        self.running_mean: Any = bn.running_mean
        self.running_var: Any = bn.running_var
        self.eps: float = bn.eps
        self.of_batch: bool = bn.training or self.running_mean is None
        self.moves = bn.training and bn.track_running_stats and self.running_mean is not None
        self.group = synchronised_group(bn) if self.of_batch and bn.training else None

    def normaliser(self, x: Tensor, residual: Tensor | None = None) -> Normaliser:
        """Return the module with its statistics for x, of which the running ones move where it is training.

        residual: what `apply` will be given.

        Raises:
            TypeError, ValueError: tensors do not fit each other; none of the running statistics has moved.
        """
        if not self.of_batch:
            scope = Scope(1.0, False, None, self.eps)
            return Normaliser(self.running_mean, self.running_var, self.weight, self.bias, scope)
        count = float(x.numel() // max(x.shape[1], 1))
        if self.group is None and count == 1:
            check_batch(x)
        running = self._running(x, residual) if self.moves else Running()
        if self.group is None:
            mean, var = _batch_norm_ops.stats_now(x, *running) if self.moves else _batch_norm_ops.stats_now(x)
            return Normaliser(mean, var, self.weight, self.bias, Scope(count, True, None, self.eps))
        mean, var = _batch_norm_ops.stats_now(x)
        mean, var, total = combine(mean, var, count, self.group)
        move_running(running, mean, var, total if isinstance(total, Tensor) else int(total))
        return Normaliser(mean, var, self.weight, self.bias, Scope(total, True, self.group, self.eps))

    def _running(self, x: Tensor, residual: Tensor | None) -> Running:
        """Return the statistics that move, for everything is known to fit."""
        c, device, dtype = x.shape[1], x.device, stat_dtype(x)
        vectors = (self.running_mean, self.running_var, self.weight, self.bias)
        fits = residual is None or (residual.shape == x.shape and residual.dtype is x.dtype)
        alike = (residual is None or residual.device == device) and all(
            v is None or (v.dtype is dtype and v.numel() == c and v.device == device) for v in vectors
        )
        if not (fits and alike):
            check_apply(x, *vectors, residual)
        batches, momentum = self.bn.num_batches_tracked, self.bn.momentum
        if batches is None or batches.dtype is not torch.int64 or batches.device != device:
            momentum = self._momentum()
            batches = None
        return Running(self.running_mean, self.running_var, batches, momentum)

    def differentiable(self, x: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
        """Compute the stage by registered operators, which torch.compile and functorch understand.

        Raises:
            NotImplementedError: the statistics are synchronised.
        """
        if self.group is not None:
            raise NotImplementedError("hgfast: synchronised BatchNorm cannot be compiled")
        keep = self.moves or not self.of_batch
        mean, var = (self.running_mean, self.running_var) if keep else (None, None)
        momentum = self._momentum() if self.moves else 0.0
        parameters = self.weight, self.bias
        return batch_norm_act(x, *parameters, mean, var, self.of_batch, momentum, self.eps, residual, relu)

    def count_batch(self) -> None:
        """Count the batch where the running statistics move."""
        if self.moves and self.bn.num_batches_tracked is not None:
            self.bn.num_batches_tracked.add_(1)

    def _momentum(self) -> float:
        """Count the batch; the share of its statistics (momentum None: the mean over all batches)."""
        bn = self.bn
        self.count_batch()
        if bn.momentum is not None:
            return bn.momentum
        return 0.0 if bn.num_batches_tracked is None else 1.0 / float(bn.num_batches_tracked)


def synchronised_group(bn: nn.Module) -> Any:
    """Return the process group over which a module averages its statistics; None where it does not."""
    if not getattr(bn, "synchronised", isinstance(bn, nn.SyncBatchNorm)):
        return None
    if not (dist.is_available() and dist.is_initialized()):
        return None
    group: Any = bn.process_group or dist.group.WORLD
    return group if dist.get_world_size(group) > 1 else None


def combine(mean: Tensor, var: Tensor, count: float, group: Any) -> tuple[Tensor, Tensor, float | Tensor]:
    """Mean, biased variance and count over all processes (Chan et al.: no difference of large numbers).

    The count is on the device. Only a process that has less than two values itself waits for the sum, to know whether
    that is enough.

    Raises:
        ValueError: one value per channel in all.
    """
    mine = torch.cat([mean, var, mean.new_full((1,), count)])
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, mine, group=group)
    table = torch.stack(gathered).double()
    channels = mean.numel()
    means, variances, counts = table[:, :channels], table[:, channels:-1], table[:, -1:]
    means, variances = (torch.where(counts > 0, part, 0) for part in (means, variances))  # an empty batch has no mean
    sum_of_counts = counts.sum()
    total = sum_of_counts if count > 1 else float(sum_of_counts)
    if not isinstance(total, Tensor) and total == 1:
        raise ValueError("batch_norm_act: expected more than 1 value per channel over all processes when training")
    all_mean = (means * counts).sum(0) / sum_of_counts
    all_var = ((variances + (means - all_mean).square()) * counts).sum(0) / sum_of_counts
    return all_mean.to(mean.dtype), all_var.to(var.dtype), total
