"""What several commands do with their options."""

from __future__ import annotations

import argparse

from hgfast.train.config import Config, apply, parse_assignments, read_toml
from hgfast.train.presets import preset


def changed(config: Config, options: argparse.Namespace) -> Config:
    """Change a configuration by ``--set``, and by ``--device`` and ``--no-freeze`` where there are such."""
    config = apply(config, parse_assignments(options.set))
    if getattr(options, "no_freeze", False):
        config = apply(config, {"freeze": False})
    device = getattr(options, "device", None)
    return apply(config, {"device": device}) if device else config


def base_config(options: argparse.Namespace) -> Config:
    """Return the configuration of ``--preset`` and ``--config``."""
    config = preset(options.preset)
    return apply(config, read_toml(options.config)) if options.config else config
