"""The learning rate as a function of progress: nothing to store, nothing to get out of step on resuming."""

from __future__ import annotations

from hgfast import _checks
from hgfast.train.config import Config


def learning_rate(config: Config, step: int, epoch: int) -> float:
    """Learning rate of optimisation step ``step`` (counted from 0 over all epochs), which lies in ``epoch``.

    MMPose's schedule: a linear rise from ``warmup_factor * lr`` at step 0 to ``lr`` at step ``warmup_steps - 1``, times
    ``gamma`` for every milestone reached (a milestone m counts from the first step of epoch m, or from step m).

    Raises:
        TypeError, ValueError: another kind of argument, or a negative number.
    """
    _checks.instance("learning_rate", "config", config, Config)
    step = _checks.integer("learning_rate", "step", step, 0)
    epoch = _checks.integer("learning_rate", "epoch", epoch, 0)
    progress = epoch if config.milestone_unit == "epoch" else step
    rate = config.lr * config.gamma ** sum(progress >= milestone for milestone in config.milestones)
    if step < config.warmup_steps - 1:
        share = step / (config.warmup_steps - 1)
        rate *= config.warmup_factor + (1 - config.warmup_factor) * share
    return rate
