"""``hgfast convert``."""

from __future__ import annotations

import argparse
from pathlib import Path

from hgfast.checkpoint import save_checkpoint
from hgfast.checkpoint.names import FORMATS
from hgfast.train.config import apply, parse_assignments
from hgfast.train.loaded import load_network
from hgfast.train.state import checkpoint_meta


def run(options: argparse.Namespace) -> None:
    """Read one form and writes another."""
    target = Path(options.target)
    if target.exists():
        raise ValueError(f"{target} exists already; choose another name")
    config, model, metrics = load_network(options.checkpoint, options.preset)
    meta = checkpoint_meta(apply(config, parse_assignments(options.set)), metrics)
    save_checkpoint(model, target, options.form, meta if options.form == "hgfast" else None)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{target}: {config.model} in the form of {FORMATS[options.form].title}, {parameters:,} parameters")
