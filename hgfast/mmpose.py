"""MMPose's networks fused in MMEngine's runner, by one line in the configuration.

``custom_imports = dict(imports=["hgfast.mmpose"])`` makes every ``mmengine.runner.Runner`` that is built from then on
fuse its model (:func:`hgfast.fuse`), in training, validation and test. A table ``hgfast`` in the configuration changes
how: ``hgfast = dict(recompute=True)`` keeps less for the gradient, ``hgfast = dict(fuse=False)`` leaves the model as it
is. Weights, state-dict keys, hooks and checkpoints are MMEngine's as before.

Raises ImportError where MMEngine is not installed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from hgfast import _checks
from hgfast._extras import require
from hgfast.fusion.fuse import REPORT, fuse

_WHERE = "configuration"
_model: Any = require("mmengine.model", "hgfast.mmpose", "mmengine")
_runner: Any = require("mmengine.runner", "hgfast.mmpose", "mmengine")


def options_of(table: Mapping[str, Any]) -> dict[str, bool]:
    """Return the table ``hgfast`` of a configuration in full: ``fuse`` and ``recompute``.

    Args:
        table: what the configuration has of it.

    Raises:
        TypeError: not a mapping, or an option that is no bool.
        ValueError: an option that there is not.
    """
    _checks.instance(_WHERE, "hgfast", table, Mapping)
    options = {"fuse": True, "recompute": False}
    for name, value in table.items():
        _checks.choice(_WHERE, "names in hgfast", name, tuple(options))
        options[name] = _checks.flag(_WHERE, name, value)
    return options


def _fusing(wrap_model: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Runner.wrap_model, which every runner calls with its model before it makes an optimizer."""

    @functools.wraps(wrap_model)
    def wrap(runner: Any, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        options = options_of(runner.cfg.get("hgfast", {}))
        if not options["fuse"]:
            return wrap_model(runner, model_wrapper_cfg, model)
        if runner.distributed and not _model.is_model_wrapper(model):
            # before DistributedDataParallel counts the weights that will have gradients: those that never run have none
            fuse(model, recompute=options["recompute"])
        wrapped = wrap_model(runner, model_wrapper_cfg, model)  # which may exchange SyncBatchNorms
        inner: Any = wrapped.module if _model.is_model_wrapper(wrapped) else wrapped
        report = vars(fuse(inner, recompute=options["recompute"]))[REPORT]
        counts = f"{len(report.replaced)} modules fused, {len(report.left)} left as they are"
        runner.logger.info(f"hgfast: {counts}\n{report}")
        return wrapped

    return wrap


_runner.Runner.wrap_model = _fusing(_runner.Runner.wrap_model)
