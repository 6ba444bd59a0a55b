"""Which weights are trained, and at what share of the rate."""

from __future__ import annotations

from typing import Any

from hgfast import _checks
from hgfast.models.common import PoseNetwork


def parameter_groups(model: PoseNetwork, backbone_rate: float) -> list[dict[str, Any]]:
    """Return groups of parameters for an optimizer, each with its ``share`` of the learning rate.

    Args:
        model: whose parameters are to be trained; weights that never take part (``requires_grad`` off) are left out.
        backbone_rate: share of the rate for all but the last layers; 0 switches their gradients off.

    Raises:
        TypeError, ValueError: arguments of another type, or a rate that is negative.
    """
    _checks.instance("parameter_groups", "model", model, PoseNetwork)
    backbone_rate = _checks.number("parameter_groups", "backbone_rate", backbone_rate, 0)
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    if backbone_rate == 1:
        return [{"params": [value for _, value in named], "share": 1.0}]
    backbone = [value for name, value in named if not name.startswith(model.head_layers)]
    groups = [{"params": [value for name, value in named if name.startswith(model.head_layers)], "share": 1.0}]
    if backbone_rate == 0:
        for value in backbone:
            value.requires_grad_(False)
        return groups
    return [*groups, {"params": backbone, "share": backbone_rate}]


def set_modes(model: PoseNetwork, backbone_rate: float) -> None:
    """Training mode; that of evaluation for a backbone that is not trained, whose BatchNorm statistics then stay."""
    _checks.instance("set_modes", "model", model, PoseNetwork)
    model.train()
    if backbone_rate == 0:
        for name, child in model.named_children():
            if f"{name}." not in model.head_layers:
                child.eval()
