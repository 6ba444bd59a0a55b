"""What several commands do with their options."""

from __future__ import annotations

import argparse

from hgfast.train.config import Config, apply, parse_assignments, read_toml
from hgfast.train.presets import preset


def changed(config: Config, options: argparse.Namespace) -> Config:
    """Configuration with what ``--set``, ``--device`` and ``--no-freeze`` say."""
    config = apply(config, parse_assignments(options.set))
    if getattr(options, "no_freeze", False):
        config = apply(config, {"freeze": False})
    return apply(config, {"device": options.device}) if options.device else config


def base_config(options: argparse.Namespace) -> Config:
    """Configuration of ``--preset`` and ``--config``."""
    config = preset(options.preset)
    return apply(config, read_toml(options.config)) if options.config else config
