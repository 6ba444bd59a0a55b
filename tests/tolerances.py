"""The one table of allowed errors, and the measures behind it.

float32 results are held against the float64 reference: ||out - ref|| / ||ref|| <= TOLERANCES[op]. Half types may have
at most HALF_FACTOR times the error of the same expression in PyTorch with the same dtype.
"""

from __future__ import annotations

import torch

TOLERANCES = {
    "default": 1e-5,
    "conv_bias_act": 1e-5,
    "conv_bias_act winograd": 1e-4,
    "conv2d": 2e-5,  # Winograd; its ratio to the direct sum's error has a test of its own
    "conv2d direct": 2e-6,
    "conv2d_input_grad": 2e-5,
    "conv2d_weight_grad": 2e-5,
    "gaussian_heatmaps": 1e-7,
    "keypoint_mse": 2e-6,
    "batch_norm_act out": 1e-6,
    "batch_norm_act x_grad": 2e-6,
    "batch_norm_act weight_grad": 2e-6,
    "batch_norm_act bias_grad": 2e-6,
    "conv tf32": 1e-3,
    "upsample_add": 1e-7,
    "upsample_add_backward": 2e-7,
}
HALF_FACTOR = 2.0
HALF_TYPES = (torch.float16, torch.bfloat16)


def relative_error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """||out - reference|| / ||reference|| in float64; 0 for equal (or empty) tensors, inf where out is NaN."""
    assert out.shape == reference.shape, f"shape {tuple(out.shape)} instead of {tuple(reference.shape)}"
    difference = (out.double().cpu() - reference.double().cpu()).norm().item()
    if difference != difference:
        return float("inf")
    return difference / max(reference.double().norm().item(), 1e-30) if difference else 0.0


def allowed_error(
    op: str, dtype: torch.dtype, reference64: torch.Tensor, same_dtype: torch.Tensor | None = None
) -> float:
    """The bound for a result of this dtype; half types need PyTorch's result of the same dtype."""
    if dtype in HALF_TYPES:
        assert same_dtype is not None and same_dtype.dtype == dtype, "half types are compared with PyTorch's result"
        return HALF_FACTOR * relative_error(same_dtype, reference64)
    return TOLERANCES.get(op, TOLERANCES["default"]) if dtype == torch.float32 else 1e-12


def assert_close(op: str, out: torch.Tensor, reference64: torch.Tensor, same_dtype: torch.Tensor | None = None) -> None:
    """out against the float64 reference by the table."""
    error, bound = relative_error(out, reference64), allowed_error(op, out.dtype, reference64, same_dtype)
    assert error <= bound, f"{op}: relative error {error:.3g} > {bound:.3g} ({out.dtype}, shape {tuple(out.shape)})"
