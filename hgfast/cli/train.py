"""``hgfast train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from hgfast.cli._shared import add_device, add_set, base_config, changed, measures_table
from hgfast.train import PRESETS, Trainer
from hgfast.train.config import Config, apply, parse_assignments, to_toml

_EPILOG = """\
A run's folder (setting `output`) gets config.toml, log.csv, curves.png, last.pt (everything, for --resume) and
best.pt (the weights of the best validation). Ctrl-C ends after the current step and saves; after a crash,
--resume goes on from the last checkpoint exactly as if training had not stopped.

examples:
  hgfast train --preset hourglass52-mpii-256 --set train_images=mpii/images --set val_images=mpii/images \\
      --set train_annotations=mpii/mpii_train.json --set val_annotations=mpii/mpii_val.json --set amp=bf16
  hgfast train --resume --output runs/a"""
_PRESET = "hourglass52-mpii-256"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = _EPILOG
    parser.add_argument("--preset", help=f"where to start from (default: {_PRESET})")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings that differ from the preset's")
    add_set(parser)
    add_device(parser)
    parser.add_argument("--output", help="folder for this run (setting `output`)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where the run in the output folder stopped, with its settings unless --config or --preset is given",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--list", action="store_true", help="list the presets and stop")
    parser.add_argument("--show", action="store_true", help="print all settings as TOML and stop")


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
    """A run that goes on has the settings in its folder, unless others are named."""
    assignments = parse_assignments(options.set)
    output = options.output or assignments.get("output")
    kept = Path(output) / "config.toml" if isinstance(output, str) else None
    if options.resume and not options.config and not options.preset and kept and kept.is_file():
        options.config = str(kept)
    options.preset = options.preset or _PRESET
    config = changed(base_config(options), options)
    return apply(config, {"output": options.output}) if options.output else config


def _best(trainer: Trainer) -> str:
    name, best, file = trainer.config.monitor, trainer.position, trainer.folder / "best.pt"
    if best.best is None:
        return f"{name} could not be measured in any validation; the newest weights: {file}"
    return f"best {name} {best.best:.2f} in epoch {best.best_epoch + 1}: {file}"
