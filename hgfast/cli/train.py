"""``hgfast train``."""

from __future__ import annotations

import argparse

from hgfast.cli._shared import add_device, add_set, base_config, changed, measures_table
from hgfast.train import PRESETS, Trainer
from hgfast.train.config import to_toml

_EPILOG = """\
A run's folder (setting `output`) gets config.toml, log.csv, curves.png, last.pt (everything, for --resume) and
best.pt (the weights of the best validation). Ctrl-C ends after the current step and saves; after a crash,
--resume goes on from the last checkpoint exactly as if training had not stopped.

examples:
  hgfast train --preset hourglass52-mpii-256 --set train_images=mpii/images --set val_images=mpii/images \\
      --set train_annotations=mpii/mpii_train.json --set val_annotations=mpii/mpii_val.json --set amp=bf16
  hgfast train --config my.toml --resume"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = _EPILOG
    parser.add_argument("--preset", default="hourglass52-mpii-256", help="where to start from (default: %(default)s)")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings that differ from the preset's")
    add_set(parser)
    add_device(parser)
    parser.add_argument("--output", help="folder for this run (setting `output`)")
    parser.add_argument("--resume", action="store_true", help="go on where the run in the output folder stopped")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--list", action="store_true", help="list the presets and stop")
    parser.add_argument("--show", action="store_true", help="print all settings as TOML and stop")


def run(options: argparse.Namespace) -> int:
    """Trains."""
    if options.list:
        print("\n".join(PRESETS))
        return 0
    if options.output:
        options.set.append(f"output={options.output}")
    config = changed(base_config(options), options)
    if options.show:
        print(to_toml(config), end="")
        return 0
    trainer = Trainer(config, resume=options.resume, quiet=options.quiet)
    say = print if trainer.world.is_main else lambda _: None
    say(to_toml(config))
    if trainer.position.step:
        say(f"resuming at epoch {trainer.position.epoch + 1}, step {trainer.position.step}")
    metrics = trainer.fit()
    say(measures_table(metrics))
    best = trainer.position
    say(f"best {config.monitor} {best.best:.2f} in epoch {best.best_epoch + 1}: {trainer.folder / 'best.pt'}")
    return 0
