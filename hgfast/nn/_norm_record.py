"""BatchNorm as it is recorded: NormState and Normaliser on values that stand for tensors."""

from __future__ import annotations

from typing import NamedTuple

from hgfast.nn._recorder import Recorder, Value, fit, rows_and_channels


class NormSettings(NamedTuple):
    """What the calls of a BatchNorm's kernels depend on beside its tensors.

    momentum: share of the batch's statistics in the running ones; None where these do not move.
    """

    of_batch: bool
    eps: float
    momentum: float | None
    group: None = None


class NormRecord:
    """NormState and Normaliser in one."""

    def __init__(
        self,
        recorder: Recorder,
        settings: NormSettings,
        mean: Value | None,
        var: Value | None,
        weight: Value | None,
        bias: Value | None,
    ) -> None:
        """mean, var: the running ones, in a backward pass those that forward used."""
        self.recorder, self.settings, self.weight, self.bias = recorder, settings, weight, bias
        self.statistics = self.running = mean, var
        self.count = 1.0

    @property
    def centres(self) -> bool:
        """See Normaliser."""
        return self.settings.of_batch

    def normaliser(self, x: Value, residual: Value | None) -> NormRecord:
        """Return the module with its statistics for x; the running ones move."""
        rows, c = rows_and_channels(x)
        self._fit(x, residual)
        fit(rows > 1)
        if self.settings.of_batch:
            self.count = float(rows)
            self.statistics = Value((c,)), Value((c,))
            workspace = self.recorder.norm_workspace(x)
            self.recorder.kernel("batch_norm_stats", (rows, c), (x,), *self.statistics, workspace)
        if self.settings.momentum is not None:
            moved = (*self.statistics, *self.running)  # it writes the latter
            self.recorder.kernel("move_running", (c, self.settings.momentum, self.count), moved)
        return self

    def apply(self, x: Value, residual: Value | None, relu: bool) -> Value:
        """relu(bn(x) + residual)."""
        self._fit(x, residual)
        out = Value(x.shape)
        settings = (*rows_and_channels(x), self.settings.eps, relu)
        self.recorder.kernel("batch_norm_apply", settings, (x, residual, *self.statistics, self.weight, self.bias), out)
        return out

    def backward(
        self, grad: Value, x: Value, residual: Value | None, addend: Value | None, relu: bool, want_residual: bool
    ) -> tuple[Value, Value | None, Value | None, Value]:
        """Record gradients of x (plus addend), weight, bias and residual, whose value is needed behind a ReLU."""
        self._fit(x, grad, residual, addend)
        (rows, c), want_masked = rows_and_channels(x), relu and want_residual
        kernel, parameters = self.recorder.kernel, (*self.statistics, self.weight, self.bias)
        masked, weight_grad, bias_grad = Value(x.shape) if want_masked else None, Value((c,)), Value((c,))
        settings = (rows, c, self.settings.eps, relu)
        writes = (masked, weight_grad, bias_grad, self.recorder.norm_workspace(x))
        kernel("batch_norm_backward_reduce", settings, (grad, x, residual, *parameters), *writes)
        if masked is not None:
            grad, residual, settings = masked, None, (rows, c, self.settings.eps, False)
        x_grad = Value(x.shape)
        reads = (grad, x, residual, *parameters, weight_grad, bias_grad, addend)
        kernel("batch_norm_backward_apply", (*settings, float(rows), self.settings.of_batch), reads, x_grad)
        return x_grad, self.weight and weight_grad, self.bias and bias_grad, grad

    def _fit(self, x: Value, *others: Value | None) -> None:
        """Others are of x's shape, vectors of its channels: a module may hold others than in its forward pass."""
        vectors = (*self.statistics, self.weight, self.bias)
        fit(*(value is None or value.shape == x.shape[1:2] for value in vectors))
        fit(*(value is None or value.shape == x.shape for value in others))
