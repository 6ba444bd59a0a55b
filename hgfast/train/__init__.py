"""Training: configuration, presets, schedule, the loop, evaluation."""

from hgfast._errors import TrainingError, TrainingStopped
from hgfast.train.config import Config, ConfigError
from hgfast.train.evaluate import evaluate
from hgfast.train.presets import PRESETS, preset
from hgfast.train.schedule import learning_rate
from hgfast.train.trainer import Trainer

__all__ = [
    "PRESETS",
    "Config",
    "ConfigError",
    "Trainer",
    "TrainingError",
    "TrainingStopped",
    "evaluate",
    "learning_rate",
    "preset",
]
