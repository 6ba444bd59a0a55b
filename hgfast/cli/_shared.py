"""What several commands do: settings out of options, networks out of checkpoints."""

from __future__ import annotations

import argparse
from typing import Any

from torch import nn

from hgfast.checkpoint import read_checkpoint
from hgfast.checkpoint.load import load_content
from hgfast.train.build import make_model
from hgfast.train.config import Config, apply, parse_assignments, read_toml
from hgfast.train.presets import preset
from hgfast.train.state import stored_config


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


def load_network(path: str, preset_name: str | None) -> tuple[Config, nn.Module, dict[str, Any]]:
    """Network of a checkpoint, its configuration, and the checkpoint's measured accuracy (empty where unknown).

    Raises:
        FileNotFoundError, ValueError: no such file, not a checkpoint, or one of another network.
    """
    content = read_checkpoint(path)
    config = preset(preset_name) if preset_name else stored_config(content, path)
    model = make_model(config)
    load_content(model, content, path)
    meta = content.get("meta") if isinstance(content, dict) else None
    return config, model, meta.get("metrics", {}) if isinstance(meta, dict) else {}
