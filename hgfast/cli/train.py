"""``hgfast train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from hgfast.cli._shared import base_config, changed
from hgfast.cli._text import measures_table
from hgfast.cli.options.train import DEFAULT_PRESET
from hgfast.train import PRESETS, Trainer
from hgfast.train.config import Config, apply, parse_assignments, to_toml


def run(options: argparse.Namespace) -> int:
    """Trains."""
    if options.list:
        print("\n".join(PRESETS))
        return 0
    config = _settings(options)
    if options.show:
        print(to_toml(config), end="")
        return 0
    trainer = Trainer(config, resume=options.resume, quiet=options.quiet)
    say, position = trainer.say, trainer.position
    say(to_toml(trainer.config))
    if position.step:
        say(f"resuming at epoch {position.epoch + 1}, step {position.step}")
    if position.epoch >= config.epochs:
        say(f"nothing to do: epochs = {config.epochs}, and {position.epoch} are done")
    metrics = trainer.fit()
    if metrics:
        say(measures_table(metrics))
        say(_best(trainer))
    return 0


def _settings(options: argparse.Namespace) -> Config:
    """Return the settings: a run that goes on has those in its folder, unless others are named."""
    assignments = parse_assignments(options.set)
    output = options.output or assignments.get("output")
    kept = Path(output) / "config.toml" if isinstance(output, str) else None
    if options.resume and not options.config and not options.preset and kept and kept.is_file():
        options.config = str(kept)
    options.preset = options.preset or DEFAULT_PRESET
    config = changed(base_config(options), options)
    return apply(config, {"output": options.output}) if options.output else config


def _best(trainer: Trainer) -> str:
    name, best, file = trainer.config.monitor, trainer.position, trainer.folder / "best.pt"
    if best.best is None:
        return f"{name} could not be measured in any validation; the newest weights: {file}"
    return f"best {name} {best.best:.2f} in epoch {best.best_epoch + 1}: {file}"
